"""A fleet in this process, with a stand-in for the models, on each kind of database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from tests.agents.killed import Fleet, born
from tests.fakes.child import end

from breakeven.agents import database, queue, runs
from breakeven.agents.app import App, Member
from breakeven.agents.llm import Answer, Call
from breakeven.agents.worker import FleetWorker


@dataclass
class Oracle:
    """Answers calls as told, and remembers them."""

    says: Callable[[Call], str] = lambda call: f"answer to {call.messages[-1]['content']}"
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, call: Call, *, retries: int) -> Answer:
        with self._lock:
            self.calls.append(call)
        return Answer(self.says(call), "oracle")


@dataclass
class Desk:
    """A database, an oracle, and workers of a fleet."""

    engine: Engine
    oracle: Oracle
    clock: Callable[[], float] | None = None

    def enqueue(self, agent: str, *payloads: Any) -> None:
        with self.engine.begin() as connection:
            queue.enqueue(connection, agent, [queue.New(payload, str(n)) for n, payload in enumerate(payloads)])

    def wake(self, app: App | Mapping[str, Member], *agents: str) -> None:
        """Wake these agents, or all, and work until there is nothing left to do."""
        members = app.members if isinstance(app, App) else app
        with self.engine.begin() as connection:
            for name in agents or members:
                runs.ask_for_run(connection, name)
        self.worker(members).run(until_idle=True)

    def worker(self, members: Mapping[str, Member], **more: Any) -> FleetWorker:
        if self.clock is not None:
            more["clock"] = self.clock
        return FleetWorker(members, self.engine, self.oracle, sole=True, **more)

    def states(self, agent: str) -> dict[str, int]:
        with self.engine.connect() as connection:
            return queue.counts(connection).get(agent, {})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    engine = database.connect(None, tmp_path)
    database.migrate(engine)
    yield Desk(engine, Oracle())
    engine.dispose()


@pytest.fixture
def start() -> Iterator[Callable[[Fleet], BaseProcess]]:
    """Start workers in processes of their own, which end with the test."""
    processes: list[BaseProcess] = []

    def one(fleet: Fleet) -> BaseProcess:
        processes.append(born(fleet))
        return processes[-1]

    yield one
    for process in processes:
        end(process)
