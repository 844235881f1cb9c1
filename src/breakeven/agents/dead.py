"""Dead letters: items that an agent gave up on, and what may be done about them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from breakeven.agents.database import items
from breakeven.errors import InputError


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that its agent gave up on.

    Attributes:
        step: where; ``None`` outside any step.
        resume_at: number of the step from which a retry goes on, earlier ones being kept.
    """

    id: int
    agent: str
    key: str
    attempt: int
    step: str | None
    resume_at: int | None
    error: str | None
    at: datetime


def dead_letters(connection: Connection, agent: str | None = None) -> list[DeadLetter]:
    """All dead letters, or those of one agent, oldest first."""
    c = items.c
    found = sa.select(c.id, c.agent, c.key, c.attempt, c.step, c.from_step, c.error, c.finished_at).where(
        c.state == "dead", *([c.agent == agent] if agent is not None else [])
    )
    return [
        DeadLetter(row.id, row.agent, row.key, row.attempt, row.step, row.from_step, row.error, _time(row.finished_at))
        for row in connection.execute(found.order_by(c.id))
    ]


def retry(connection: Connection, ids: Iterable[int], *, from_start: bool = False) -> int:
    """Let dead letters be tried again, from the step that failed or from the start. How many.

    Raises:
        InputError: an id is no dead letter.
    """
    return _revive(connection, ids, "dead", items.c.from_step if not from_start else None)


def replay(connection: Connection, item: int, *, from_step: int | None = None) -> None:
    """Let an item that ended be worked on once more, its earlier steps kept. Its writes from there on happen again.

    Raises:
        InputError: there is no such item, or it has not ended.
    """
    if from_step is not None and from_step < 1:
        raise InputError(f"--from {from_step}: steps count from 1", remedy="`breakeven agents logs` lists them.")
    state = connection.scalar(sa.select(items.c.state).where(items.c.id == item))
    if state not in ("done", "dead"):
        found = "there is no such item" if state is None else f"it is {state}"
        raise InputError(f"item {item}: {found}", remedy="`breakeven agents logs` lists items that ended.")
    _revive(connection, [item], state, from_step)


def drop(connection: Connection, ids: Iterable[int]) -> int:
    """Give dead letters up for good. How many.

    Raises:
        InputError: an id is no dead letter.
    """
    wanted = _known(connection, ids, "dead")
    update = sa.update(items).where(items.c.id.in_(wanted))
    return connection.execute(update.values(state="dropped", finished_at=time.time())).rowcount


def _revive(connection: Connection, ids: Iterable[int], state: str, from_step: object) -> int:
    again = {
        "state": "ready",
        "run": None,
        "worker": None,
        "attempt": items.c.attempt + 1,
        "continues": False,
        "from_step": from_step,
        "takeovers": 0,
        "not_before": 0.0,
        "finished_at": None,
    }
    return connection.execute(
        sa.update(items).where(items.c.id.in_(_known(connection, ids, state))).values(**again)
    ).rowcount


def _known(connection: Connection, ids: Iterable[int], state: str) -> list[int]:
    wanted = list(ids)
    found = set(connection.scalars(sa.select(items.c.id).where(items.c.id.in_(wanted), items.c.state == state)))
    for number in wanted:
        if number not in found:
            raise InputError(f"item {number} is no dead letter", remedy="`breakeven agents dead list` lists them.")
    return wanted


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
