"""The page on agents says what is true: its agents are accepted, and work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.agents.conftest import Desk

from breakeven.agents.app import load_folder

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_agent_in_python(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "page.py").write_text(block("python"))
    with desk.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE replies (key TEXT, topic TEXT, reply TEXT)"))
    desk.oracle.says = lambda call: '{"topic": "fire"}' if call.schema else "Use the extinguisher."
    desk.enqueue("triage", {"id": "7", "text": " The printer is on fire. "})
    desk.wake(load_folder(folder).members)
    with desk.engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text("SELECT * FROM replies"))]
    assert rows == [("7", "fire", "Use the extinguisher.")]
    assert desk.oracle.calls[0].messages[-1]["content"] == "Label: The printer is on fire."
    del sys.modules["breakeven_fleet.page"]


def test_the_agent_in_a_file(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, inbox = tmp_path / "agents", tmp_path / "inbox"
    folder.mkdir()
    inbox.mkdir()
    (inbox / "a.txt").write_text("The printer is on fire.")
    (folder / "sort.toml").write_text(block("toml"))
    monkeypatch.chdir(tmp_path)
    with desk.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE replies (file TEXT, topic TEXT, reply TEXT)"))
    desk.oracle.says = lambda call: '{"topic": "fire"}' if call.schema else "Use the extinguisher."
    desk.wake(load_folder(folder).members)
    with desk.engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text("SELECT * FROM replies"))]
    assert rows == [("a.txt", "fire", "Use the extinguisher.")]
