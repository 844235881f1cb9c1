"""The examples on the page "The math" are what the program computes."""

import doctest
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "math.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_every_example_of_the_page_gives_what_it_says():
    source = "\n".join(BLOCKS)
    examples = doctest.DocTestParser().get_doctest(source, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)

    assert tried > 30
    assert not failed, "".join(said)


@pytest.mark.parametrize("section", range(1, 14))
def test_the_page_has_all_its_sections(section):
    assert f"\n## {section}. " in PAGE.read_text(encoding="utf-8")
