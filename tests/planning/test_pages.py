import re
import tomllib
from pathlib import Path

from breakeven.planning.reference import page
from breakeven.planning.scenario import parse

DOCS = Path(__file__).parents[2] / "docs"


def test_the_scenario_reference_is_in_step_with_the_types():
    written = (DOCS / "scenario.md").read_text(encoding="utf-8")

    assert written == page(), "run: python -m breakeven.planning.reference > docs/scenario.md"


def test_the_scenario_on_the_page_about_planning_is_valid():
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "plan.md").read_text(encoding="utf-8"), flags=re.DOTALL)

    assert parse(tomllib.loads(example)).name == "Support desk"
