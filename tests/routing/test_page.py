"""The page about routing shows what really happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from breakeven.cli.main import main
from breakeven.routing.gates import AnswerFacts

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_plan_shown_is_the_plan_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("breakeven.toml").write_text(block("toml"), encoding="utf-8")
    Path("request.json").write_text(block("json"), encoding="utf-8")
    command, shown = block("console").removeprefix("$ breakeven ").split("\n", 1)

    with pytest.raises(SystemExit):
        main(command.split())

    assert capsys.readouterr().out == shown


def test_the_check_shown_works() -> None:
    scope: dict[str, object] = {}
    exec(block("python"), scope)
    check = scope["names_a_severity"]
    assert callable(check)
    assert check(AnswerFacts("severity: low")) is None
    assert check(AnswerFacts("hm")) == "names no severity"
