"""A worker among wake-ups that overlap, agents that sleep, and workers that left in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dbos._sys_db import SystemDatabase
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from tests.agents.conftest import Desk

from breakeven.agents import history, queue, runs
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.llm import Call
from breakeven.agents.worker import FleetWorker

PATIENCE_SECONDS = 30.0


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def at_work(worker: FleetWorker, drain_seconds: float = 30.0) -> Iterator[list[bool]]:
    """A worker in a thread of its own, told to stop at the end; gives whether it finished what it had in hand."""
    finished: list[bool] = []
    thread = threading.Thread(target=lambda: finished.append(worker.run(drain_seconds=drain_seconds)))
    thread.start()
    try:
        yield finished
    finally:
        worker.stop()
        thread.join(PATIENCE_SECONDS)


def tick(desk: Desk, agent: str, at: float) -> None:
    with desk.engine.begin() as connection:
        assert runs.note_tick(connection, agent, at, "schedule")


def endings(desk: Desk) -> list[str]:
    with desk.engine.connect() as connection:
        return [row.state for row in history.runs_since(connection, 0)]


def blocking(app: App, overlap: str) -> None:
    @app.agent("slow", overlap=overlap, batch=1)
    def slow(ctx: Context, item: str) -> None:
        ctx.llm("think", item)
        ctx.llm("answer", item)


def waiting_for(desk: Desk, gate: threading.Event, what: str) -> None:
    """Let the oracle think until the gate opens when it is asked this for the first time."""
    asked: list[str] = []

    def says(call: Call) -> str:
        question = call.messages[-1]["content"]
        if question == what and what not in asked:
            asked.append(what)
            gate.wait(PATIENCE_SECONDS)
        return "fine"

    desk.oracle.says = says


@pytest.mark.parametrize(
    ("overlap", "ended"), [("skip", ["done", "skipped", "skipped"]), ("queue", ["done", "done", "skipped"])]
)
def test_a_wake_up_that_finds_the_one_before_at_work(desk: Desk, overlap: str, ended: list[str]) -> None:
    app, gate = App(), threading.Event()
    blocking(app, overlap)
    waiting_for(desk, gate, "first")
    desk.enqueue("slow", "first", "second", "third")
    with at_work(desk.worker(app.members)):
        tick(desk, "slow", 1.0)
        until(lambda: len(desk.oracle.calls) == 1)
        tick(desk, "slow", 2.0)
        tick(desk, "slow", 3.0)
        until(lambda: endings(desk).count("skipped") == ended.count("skipped"))
        gate.set()
        until(lambda: endings(desk) == ended)


def test_a_wake_up_that_cancels_the_one_before(desk: Desk) -> None:
    app, gate = App(), threading.Event()
    blocking(app, "cancel")
    waiting_for(desk, gate, "first")
    desk.enqueue("slow", "first", "second")
    with at_work(desk.worker(app.members)):
        tick(desk, "slow", 1.0)
        until(lambda: len(desk.oracle.calls) == 1)
        tick(desk, "slow", 2.0)
        until(lambda: endings(desk)[0] == "cancelled")
        gate.set()
        until(lambda: endings(desk) == ["cancelled", "done"])
        tick(desk, "slow", 3.0)
        until(lambda: endings(desk) == ["cancelled", "done", "done"])
    keys = {call.key for call in desk.oracle.calls}
    assert keys == {"slow/1/1:1", "slow/1/1:2", "slow/2/1:1", "slow/2/1:2"}, "it went on under the same keys"


def test_a_paused_agent_begins_nothing_until_it_is_resumed(desk: Desk) -> None:
    app = App()
    blocking(app, "skip")
    desk.worker(app.members).run(until_idle=True)
    with desk.engine.begin() as connection:
        runs.update_state(connection, "slow", paused=True)
    desk.enqueue("slow", "x")
    desk.wake(app)
    assert desk.states("slow") == {"ready": 1}
    with desk.engine.begin() as connection:
        runs.update_state(connection, "slow", paused=False)
    desk.worker(app.members).run(until_idle=True)
    assert desk.states("slow") == {"done": 1}


def test_what_a_worker_leaves_in_the_middle_is_finished_by_the_next(desk: Desk) -> None:
    app, gate = App(), threading.Event()
    blocking(app, "skip")

    def says(call: Call) -> str:
        if call.key.endswith(":2"):
            gate.wait(PATIENCE_SECONDS)
        return "fine"

    desk.oracle.says = says
    desk.enqueue("slow", "x")
    with at_work(desk.worker(app.members), drain_seconds=0.0) as finished:
        tick(desk, "slow", 1.0)
        until(lambda: len(desk.oracle.calls) == 2)
    assert finished == [False]
    assert desk.states("slow") == {"working": 1}
    gate.set()
    desk.worker(app.members).run(until_idle=True)
    assert desk.states("slow") == {"done": 1}
    assert [call.key for call in desk.oracle.calls] == ["slow/1/1:1", "slow/1/1:2", "slow/1/1:2"]
    assert endings(desk) == ["done"]


def test_an_item_whose_worker_closed_under_it_is_no_dead_letter(desk: Desk) -> None:
    app, gate = App(), threading.Event()
    blocking(app, "skip")
    desk.oracle.says = lambda _: "fine" if gate.wait(PATIENCE_SECONDS) else ""
    desk.enqueue("slow", "x")
    before = set(threading.enumerate())
    with at_work(desk.worker(app.members), drain_seconds=0.0):
        tick(desk, "slow", 1.0)
        until(lambda: len(desk.oracle.calls) == 1)
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_SECONDS)
    assert desk.states("slow") == {"working": 1}
    desk.worker(app.members).run(until_idle=True)
    assert desk.states("slow") == {"done": 1}


@pytest.mark.parametrize("fails", ["record_operation_result", "update_workflow_outcome"])
def test_an_item_goes_on_when_the_database_failed_under_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    app, does = App(), getattr(SystemDatabase, fails)
    blocking(app, "skip")
    failures = [OperationalError("", {}, Exception("the disk is gone"))]

    def failing_once(self: SystemDatabase, *arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return does(self, *arguments, **more)

    monkeypatch.setattr(SystemDatabase, fails, failing_once)
    desk.enqueue("slow", "x")
    desk.wake(app)
    assert not failures
    assert desk.states("slow") == {"done": 1}
    assert len({call.key for call in desk.oracle.calls}) == 2


def test_what_the_database_gave_without_our_hearing_of_it_is_taken_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, claim, begin = App(), queue.claim, runs.begin
    blocking(app, "skip")
    lost = [OperationalError("", {}, Exception("the connection is gone")) for _ in range(2)]

    def claiming(*arguments: Any) -> Any:
        claimed = claim(*arguments)
        if claimed and len(lost) == 1:
            raise lost.pop()
        return claimed

    def beginning(connection: Connection, *arguments: Any) -> bool:
        begun = begin(connection, *arguments)
        if len(lost) > 1:
            connection.commit()
            raise lost.pop()
        return begun

    monkeypatch.setattr(queue, "claim", claiming)
    monkeypatch.setattr(runs, "begin", beginning)
    desk.enqueue("slow", "x")
    desk.wake(app)
    assert not lost
    assert desk.states("slow") == {"done": 1}
    assert endings(desk) == ["done"]


def test_a_scheduled_agent_wakes_by_itself_and_in_time(desk: Desk) -> None:
    app = App()

    @app.agent("often", every="1s")
    def often(ctx: Context) -> None:
        ctx.llm("ask", "x")

    with at_work(desk.worker(app.members)):
        until(lambda: endings(desk).count("done") >= 3)
    with desk.engine.connect() as connection:
        lags: list[Any] = [row.lag for row in history.runs_since(connection, 0) if row.lag is not None]
    assert len(lags) >= 3
