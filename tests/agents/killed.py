"""A fleet made to be killed: its agents, and a process of its own for each of its lives."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from tests.fakes.child import end

from breakeven.agents import database, queue
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.llm import Client
from breakeven.agents.worker import FleetWorker
from breakeven.agents.workers import sole_worker

CALLS_AN_ITEM = 2
PATIENCE_SECONDS = 120.0
RESULTS = sa.Table(
    "results", sa.MetaData(), sa.Column("item", sa.Integer), sa.Column("label", sa.Text), sa.Column("reply", sa.Text)
)
app = App()


def clean(item: dict[str, Any]) -> str:
    return f"ticket {item['number']}"


def save(session: Session, number: int, label: str, reply: str) -> None:
    session.execute(sa.insert(RESULTS).values(item=number, label=label, reply=reply))


def work(ctx: Context, item: dict[str, Any]) -> None:
    text = ctx.step(clean, item)
    label = ctx.llm("classify", f"Label: {text}", max_tokens=4)
    reply = ctx.llm("draft", f"Reply ({label}): {text}", max_tokens=4)
    ctx.commit(save, item["number"], label, reply)


app.agent("exact", every="1s", batch=100, parallel=4, overlap="queue", model="sky")(work)
app.agent("patient", every="1s", batch=100, parallel=4, overlap="queue", model="sky", retries=8)(work)


@app.agent("control", every="1s", batch=100, parallel=4, overlap="queue", model="sky")
def control(ctx: Context, item: dict[str, Any]) -> None:
    """The same work in plain steps: the write has a transaction of its own, and calls have new keys each time."""
    text = ctx.step(clean, item)
    label = ctx.llm("classify", f"{os.getpid()}, label: {text}", max_tokens=4)
    reply = ctx.llm("draft", f"{os.getpid()}, reply ({label}): {text}", max_tokens=4)

    def plain() -> None:
        with Session(_plain_database()) as session, session.begin():
            save(session, item["number"], label, reply)
        time.sleep(0.02)  # what a plain step still does between its write and its record, such as hearing of it

    ctx.step(plain, name="save")


class KeylessClient(Client):
    """Sends each call under a key that nobody used before."""

    def ask(self, call: Any, *, retries: int) -> Any:
        return super().ask(replace(call, key=f"{call.key}-{os.urandom(8).hex()}"), retries=retries)


@dataclass(frozen=True)
class Fleet:
    """What each life of a worker is started with."""

    home: Path
    url: str | None
    base_url: str
    agent: str
    lease_seconds: float = 4.0


_current: list[Engine] = []


def _plain_database() -> Engine:
    return _current[0]


def live(fleet: Fleet) -> None:
    """One life: works until it is killed, asked to leave by SIGTERM, or alone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    engine = database.connect(fleet.url, fleet.home, idle_seconds=3)
    _current.append(engine)
    client = (KeylessClient if fleet.agent == "control" else Client)(fleet.base_url, None)
    members = {fleet.agent: app.members[fleet.agent]}
    worker = FleetWorker(members, engine, client, sole=fleet.url is None, lease_seconds=fleet.lease_seconds)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    if fleet.url is None:
        with sole_worker(fleet.home):
            worker.run()
    else:
        worker.run()


def _end_with_parent() -> None:
    """Leave no worker behind when the tests are killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def born(fleet: Fleet) -> BaseProcess:
    """A worker, forked from a process that has imported everything, so that its life begins in a moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.agents.killed"])
    process = context.Process(target=live, args=(fleet,), daemon=True)
    process.start()
    return process


@dataclass
class Slaughter:
    """Lives and deaths of a fleet's workers, at random moments while they get on with the work."""

    fleet: Fleet
    workers: int
    random: random.Random
    kills: int = 0
    _alive: list[BaseProcess] = field(default_factory=list)

    def prepare(self, items: int) -> Engine:
        """The database, with items to work on."""
        engine = database.connect(self.fleet.url, self.fleet.home)
        database.migrate(engine)
        RESULTS.metadata.create_all(engine)
        with engine.begin() as connection:
            new = (queue.New({"number": number}, str(number)) for number in range(items))
            assert queue.enqueue(connection, self.fleet.agent, new) == items
        return engine

    def run(self, engine: Engine, items: int, kills: int, patience_seconds: float = 300.0) -> None:
        """Kill until it is enough, then let the work be finished."""
        deadline = time.monotonic() + patience_seconds
        try:
            while (done := ended(engine)) < items:
                assert time.monotonic() < deadline, f"{done} of {items} items after {self.kills} kills"
                while len(self._alive) < self.workers:
                    self._alive.append(born(self.fleet))
                if self.kills < kills and items - done > 8:
                    share = (items - done) * 0.8 / (kills - self.kills)
                    self._until(engine, int(done + share * self.random.random()), deadline)
                    time.sleep(self.random.uniform(0.0, 0.1))
                    self.kill(self.random.choice(self._alive))
                else:
                    self._until(engine, items, deadline)
        finally:
            for process in self._alive:
                end(process)

    def kill(self, process: BaseProcess) -> None:
        end(process)
        self._alive.remove(process)
        self.kills += 1

    def _until(self, engine: Engine, number: int, deadline: float) -> None:
        while ended(engine) < number and time.monotonic() < deadline:
            assert all(process.is_alive() for process in self._alive), "a worker ended by itself"
            time.sleep(0.02)


def until(reached: Callable[[], bool]) -> None:
    """Wait for what another process brings about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.02)


def ended(engine: Engine) -> int:
    with engine.connect() as connection:
        return sum(
            sum(states.get(name, 0) for name in ("done", "dead")) for states in queue.counts(connection).values()
        )


def doubled_and_lost(engine: Engine, items: int) -> tuple[int, int]:
    """Rows beyond one for an item, and items without a row."""
    with engine.connect() as connection:
        rows, distinct = connection.execute(sa.select(sa.func.count(), sa.func.count(RESULTS.c.item.distinct()))).one()
    return rows - distinct, items - distinct
