"""``breakeven agents`` as it is typed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.agents.conftest import Desk, Oracle
from tests.fakes.child import PATIENCE_SECONDS, line_of, running
from typer.testing import CliRunner

from breakeven.agents import database
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.workers import sole_worker
from breakeven.cli.main import build

AGENT = 'every = "5m"\n[source]\nkind = "queue"\n[[steps]]\nname = "a"\nprompt = "{{ item.text }}"\n'
Type = Callable[..., Any]


@pytest.fixture
def type_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command with ``--json``; gives what it printed."""
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "triage.toml").write_text(AGENT)

    def run(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(build(), ["agents", *arguments, *(["--json"] if code == 0 else [])])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else result.stderr

    return run


def test_the_agent_to_start_from_is_valid(tmp_path: Path, type_: Type) -> None:
    assert CliRunner().invoke(build(), ["agents", "init", "mine"]).exit_code == 0
    [row] = type_("list", "--folder", "mine")
    assert (row["agent"], row["source"]) == ("triage", "queue")
    assert row["next"] is not None


def test_items_are_put_in_once_under_a_key(type_: Type) -> None:
    assert type_("enqueue", "triage", '{"text": "x"}', "--key", "k") == {"added": 1, "known": 0}
    assert type_("enqueue", "triage", '{"text": "x"}', "--key", "k") == {"added": 0, "known": 1}
    assert type_("status")["agents"]["triage"]["items"] == {"ready": 1}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["enqueue", "triage", "not json"], "is no JSON"),
        (["enqueue", "nobody", "{}"], "there is no agent 'nobody'"),
        (["dead", "retry", "7"], "item 7 is no dead letter"),
        (["dead", "drop"], "no item named"),
        (["pause", "nobody"], "has never run here"),
        (["logs", "--item", "9"], "there is no item 9"),
        (["list", "--folder", "nowhere"], "is no folder"),
    ],
)
def test_what_cannot_be_done_is_said(type_: Type, arguments: list[str], says: str) -> None:
    assert says in " ".join(type_(*arguments, code=2).split())


def test_a_budget_that_nobody_holds_stops_the_fleet(tmp_path: Path, type_: Type) -> None:
    (tmp_path / "agents" / "triage.toml").write_text(f'budget = "$0.50/day"\n{AGENT}')
    assert "does not hold the budgets of triage" in " ".join(type_("run", "--dry-run", code=2).split())
    printed = CliRunner().invoke(build(), ["agents", "budgets"]).stdout
    (tmp_path / "breakeven.toml").write_text(printed)
    assert [row["budget"] for row in type_("run", "--dry-run")] == ["$0.50/day"]


def test_a_second_worker_on_a_file_is_refused(tmp_path: Path, type_: Type) -> None:
    with sole_worker(tmp_path / "home"):
        assert "another worker runs the agents" in " ".join(type_("run", code=2).split())


def test_the_fleet_runs_from_the_shell_and_leaves_on_request(tmp_path: Path, type_: Type) -> None:
    command = [sys.executable, "-m", "breakeven", "agents", "run", "--json"]
    environment = {**os.environ, "COVERAGE_PROCESS_START": ""}
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as fleet:
        assert "1 agents ask http://127.0.0.1:4141/v1" in line_of(fleet, fleet.stderr)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not type_("drain")["asked"]:
            assert fleet.poll() is None
            assert time.monotonic() < deadline, "the worker never entered itself"
        printed, _ = fleet.communicate(timeout=60)
        assert (fleet.returncode, json.loads(printed)) == (0, {"finished": True})


def test_a_worker_leaves_in_time_though_what_it_took_over_is_stuck(tmp_path: Path, type_: Type) -> None:
    command = [sys.executable, "-m", "breakeven", "agents", "run", "--wake"]
    type_("enqueue", "triage", '{"text": "x"}')
    with socket.socket() as silent:  # takes calls and never answers them
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(PATIENCE_SECONDS)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        (tmp_path / "breakeven.toml").write_text(f'[agents]\nbase_url = "{address}"\ndrain_seconds = 0\n')
        with running(command, stderr=subprocess.DEVNULL):
            first, _ = silent.accept()
        with first, running(command, stderr=subprocess.PIPE) as fleet:
            second, _ = silent.accept()
            with second:
                fleet.terminate()
                _, said = fleet.communicate(timeout=PATIENCE_SECONDS)
    assert fleet.returncode == 0
    assert "took over from" in said
    assert "the next run takes them up" in " ".join(said.split())


def test_dead_letters_and_logs(tmp_path: Path, type_: Type) -> None:
    app = App()

    @app.agent("triage", retries=0)
    def triage(ctx: Context, item: dict[str, Any]) -> None:
        ctx.llm("ask", "x")
        raise ValueError("no paper")

    engine = database.connect(None, tmp_path / "home")
    database.migrate(engine)
    desk = Desk(engine, Oracle())
    desk.enqueue("triage", {"text": "x"}, {"text": "y"})
    desk.wake(app)
    engine.dispose()
    assert [letter["error"] for letter in type_("dead", "list")] == ["ValueError: no paper"] * 2
    assert [step["name"] for step in type_("logs", "--item", "1")["steps"]] == ["ask"]
    assert type_("dead", "retry", "1") == {"retried": 1}
    assert type_("dead", "drop", "--all-of", "triage") == {"dropped": 1}
    assert type_("status")["agents"]["triage"]["items"] == {"dropped": 1, "ready": 1}
    assert {row["state"] for row in type_("logs")} == {"dropped", "ready"}
    assert [row["failed"] for row in type_("report")["agents"]] == [2]
