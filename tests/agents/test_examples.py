"""The examples run, with few items and the models that they ask for."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.agents.conftest import Desk, Oracle
from typer.testing import CliRunner

from breakeven.agents import database
from breakeven.agents.app import load_folder
from breakeven.cli.main import build

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("example", ["fleet31"], indirect=True)
def test_thirty_one_agents_each_write_a_row(example: Path) -> None:
    prepare = runpy.run_path(str(example / "prepare.py"))["prepare"]
    assert prepare(None, example / "books") == 93
    assert prepare(None, example / "books") == 0
    engine = database.connect(None, example / "books")
    oracle = Oracle(lambda call: '{"amount": 4.1, "currency": "CHF"}' if call.schema is not None else "urgent")
    fleet = load_folder(example / "agents").members
    assert len(fleet) == 31
    Desk(engine, oracle).wake(fleet)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT agent, label FROM desk")).all()
    assert sorted(row.agent for row in rows) == sorted(fleet)
    assert {row.label for row in rows} == {"urgent", "4.1 CHF"}
    shown = CliRunner().invoke(build(), ["agents", "report", "--json"])
    assert shown.exit_code == 0, shown.output
    assert {row["succeeded"] for row in json.loads(shown.stdout)["agents"]} == {1}
    engine.dispose()


@pytest.mark.parametrize("example", ["research40"], indirect=True)
def test_forty_topics_become_one_page(example: Path) -> None:
    order = json.dumps({"topics": "topics.txt", "page": "page.md"})
    enqueued = CliRunner().invoke(build(), ["agents", "enqueue", "research", order])
    assert enqueued.exit_code == 0, enqueued.output
    engine = database.connect(None, example / "books")
    oracle = Oracle(lambda call: f"{call.messages[-1]['content'][:20]} came by ship.")
    Desk(engine, oracle).wake(load_folder(example / "agents").members)
    page = (example / "page.md").read_text(encoding="utf-8")
    assert page.count("\n- **") == 40
    assert "- **tea**: tea came by ship." in page
    assert len(oracle.calls) == 41
    assert len({call.messages[0]["content"] for call in oracle.calls}) == 2, "one prefix for all, none for the title"
    engine.dispose()
