"""Several workers on one PostgreSQL: killed, frozen, joined and left, and each item once."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.agents.conftest import Desk, Oracle
from tests.agents.killed import (
    CALLS_AN_ITEM,
    PATIENCE_SECONDS,
    RESULTS,
    Fleet,
    Slaughter,
    doubled_and_lost,
    ended,
    until,
)
from tests.agents.test_kills import ITEMS, KILLS, desk, paid

from breakeven.agents import database, dead
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.database import items, workers

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def leave(*processes: BaseProcess) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0, "None: it was asked to leave and did not"


def at_work(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        counted = sa.select(items.c.worker, sa.func.count()).where(items.c.state == "working").group_by(items.c.worker)
        return {row[0]: row[1] for row in connection.execute(counted)}


def test_thirty_kills_of_two_workers(tmp_path: Path, postgres_url: str) -> None:
    with desk(tmp_path / "gateway") as (sky, gateway):
        fleet = Fleet(tmp_path, postgres_url, f"{gateway.url}/v1", "exact")
        slaughter = Slaughter(fleet, 2, random.Random(2))
        engine = slaughter.prepare(ITEMS)
        slaughter.run(engine, ITEMS, KILLS)
        assert slaughter.kills == KILLS
        assert doubled_and_lost(engine, ITEMS) == (0, 0)
        assert paid(sky) == ITEMS * CALLS_AN_ITEM
        engine.dispose()


def test_a_frozen_worker_that_was_taken_over_writes_nothing_when_it_thaws(
    tmp_path: Path, postgres_url: str, start: Callable[[Fleet], BaseProcess]
) -> None:
    number = 60
    with desk(tmp_path / "gateway") as (sky, gateway):
        fleet = Fleet(tmp_path, postgres_url, f"{gateway.url}/v1", "exact")
        engine = Slaughter(fleet, 1, random.Random(3)).prepare(number)
        frozen = start(fleet)
        until(lambda: ended(engine) > 4 and bool(at_work(engine)))
        assert frozen.pid is not None
        os.kill(frozen.pid, signal.SIGSTOP)
        other = start(fleet)
        until(lambda: ended(engine) >= number)
        os.kill(frozen.pid, signal.SIGCONT)
        leave(frozen, other)
        assert doubled_and_lost(engine, number) == (0, 0)
        assert paid(sky) == number * CALLS_AN_ITEM
        engine.dispose()


def test_workers_share_the_work_and_come_and_go(
    tmp_path: Path, postgres_url: str, start: Callable[[Fleet], BaseProcess]
) -> None:
    number = 150
    with desk(tmp_path / "gateway") as (_, gateway):
        fleet = Fleet(tmp_path, postgres_url, f"{gateway.url}/v1", "exact")
        engine = Slaughter(fleet, 1, random.Random(4)).prepare(number)
        first, second = start(fleet), start(fleet)
        seen: set[str] = set()

        def both_at_work() -> bool:
            seen.update(at_work(engine))
            return len(seen) == 2

        until(both_at_work)
        third = start(fleet)
        until(lambda: ended(engine) > 60)
        leave(third)
        leave(first)
        with engine.connect() as connection:
            states = connection.scalars(sa.select(workers.c.state)).all()
        assert sorted(states) == ["gone", "gone", "live"]
        until(lambda: ended(engine) >= number)
        leave(second)
        assert doubled_and_lost(engine, number) == (0, 0)
        with engine.connect() as connection:
            assert connection.scalar(sa.select(sa.func.max(items.c.takeovers))) == 0, (
                "who leaves in order, leaves nothing"
            )
            assert connection.scalar(sa.select(sa.func.count()).select_from(RESULTS)) == number
        engine.dispose()


def test_what_postgresql_cannot_keep_makes_a_dead_letter_and_holds_nobody_up(tmp_path: Path, postgres_url: str) -> None:
    engine, app = database.connect(postgres_url, tmp_path), App()
    database.migrate(engine)
    fleet = Desk(engine, Oracle())

    @app.agent("raw", retries=0)
    def raw(ctx: Context, item: str) -> None:
        if item == "bad":
            raise ValueError("byte \0 at 7")
        ctx.step(lambda: "nul \0 and half \ud800 a pair", name="echo")

    fleet.enqueue("raw", "bad", "good")
    fleet.wake(app)
    assert fleet.states("raw") == {"dead": 1, "done": 1}
    with engine.connect() as connection:
        assert [letter.error for letter in dead.dead_letters(connection)] == ["ValueError: byte \\u0000 at 7"]
    engine.dispose()
