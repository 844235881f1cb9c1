"""Runs: each wake-up of an agent, from its tick to the end of its last item."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from breakeven.agents import queue
from breakeven.agents.database import items, runs, states, traces

Trigger: TypeAlias = Literal["schedule", "missed", "now"]
BUSY = ("gathering", "active")


@dataclass(frozen=True, slots=True)
class Run:
    """A wake-up of an agent; times are Unix seconds."""

    id: str
    agent: str
    trigger: Trigger
    scheduled_for: float
    state: str
    worker: str | None


@dataclass(frozen=True, slots=True)
class AgentState:
    """What is remembered of an agent between wake-ups."""

    paused: bool
    seen: float
    cursor: str | None


def run_id(agent: str, scheduled_for: float) -> str:
    """The name of the run of a tick: whoever sees the tick gives it the same one."""
    at = datetime.fromtimestamp(scheduled_for, UTC)
    return f"{agent}@{at.isoformat(timespec='seconds').replace('+00:00', 'Z')}"


def note_tick(connection: Connection, agent: str, tick: float, trigger: Trigger, *, offset: float = 0.0) -> bool:
    """Note a waiting run for a tick; false when another worker has done so."""
    values = {"id": run_id(agent, tick), "agent": agent, "trigger": trigger, "state": "waiting"}
    times = {"scheduled_for": tick, "due_at": tick + offset}
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(runs).values(**values, **times, **_EMPTY).on_conflict_do_nothing().returning(runs.c.id)
    return connection.execute(statement).first() is not None


def ask_for_run(connection: Connection, agent: str) -> str:
    """Ask for a run now; a worker starts it."""
    now = time.time()
    name = f"{run_id(agent, now)}-{uuid.uuid4().hex[:6]}"
    values = {"id": name, "agent": agent, "trigger": "now", "scheduled_for": now, "due_at": now, "state": "waiting"}
    connection.execute(sa.insert(runs).values(**values, **_EMPTY))
    return name


def begin(connection: Connection, run: str, worker: str) -> bool:
    """Take a waiting run; only one worker gets it."""
    update = (
        sa.update(runs)
        .where(runs.c.id == run, runs.c.state == "waiting")
        .values(state="gathering", worker=worker, started_at=time.time())
    )
    return bool(connection.execute(update).rowcount)


def gathered(connection: Connection, run: str, taken: int) -> None:
    """Note what a run has got to do; with nothing, it is over."""
    if taken:
        connection.execute(sa.update(runs).where(runs.c.id == run).values(state="active", taken=taken))
    else:
        end(connection, run, "done")


def end(connection: Connection, run: str, state: str, error: str | None = None) -> None:
    """Note that a run is over."""
    values = {"state": state, "finished_at": time.time(), "error": error, "worker": None}
    connection.execute(sa.update(runs).where(runs.c.id == run, runs.c.finished_at.is_(None)).values(**values))


def count(connection: Connection, run: str, *, succeeded: int = 0, failed: int = 0) -> None:
    """Add to what a run has done; its last item ends it."""
    values = {"succeeded": runs.c.succeeded + succeeded, "failed": runs.c.failed + failed}
    connection.execute(sa.update(runs).where(runs.c.id == run).values(**values))
    if queue.open_items(connection, run) == 0:
        end(connection, run, "done")


def take_over(connection: Connection, dead: str) -> None:
    """Let what a dead worker was gathering be begun again."""
    gathering = (runs.c.state == "gathering", runs.c.worker == dead)
    connection.execute(sa.update(runs).where(*gathering).values(state="waiting", worker=None))


def let_go(connection: Connection, worker: str, in_hand: Collection[str]) -> None:
    """Let runs be begun again that a worker was given and never heard of."""
    mine = (runs.c.state == "gathering", runs.c.worker == worker, runs.c.id.not_in(in_hand))
    connection.execute(sa.update(runs).where(*mine).values(state="waiting", worker=None))


def end_finished(connection: Connection) -> None:
    """End active runs whose last item ended as their worker died."""
    open_items = sa.exists().where(items.c.run == runs.c.id, items.c.state.in_(queue.OPEN))
    finished = sa.select(runs.c.id).where(runs.c.state == "active", ~open_items)
    for name in connection.scalars(finished).all():
        end(connection, name, "done")


def unfinished(connection: Connection) -> list[Run]:
    """Runs that wait, gather or are at work, in the order of their ticks."""
    found = sa.select(*_columns()).where(runs.c.state.in_(("waiting", *BUSY))).order_by(runs.c.scheduled_for)
    return [_run(row) for row in connection.execute(found)]


def remembered(connection: Connection) -> dict[str, AgentState]:
    """The state of each agent that has one."""
    found = connection.execute(sa.select(states.c.agent, states.c.paused, states.c.seen, states.c.cursor))
    return {agent: AgentState(bool(paused), seen, cursor) for agent, paused, seen, cursor in found}


def remember(connection: Connection, agent: str, seen: float, *, takes_items: bool) -> None:
    """Begin to remember an agent; of one that is remembered already only note whether it takes items."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(states).values(agent=agent, paused=False, seen=seen, takes_items=takes_items)
    connection.execute(new.on_conflict_do_update(index_elements=["agent"], set_={"takes_items": takes_items}))


def takers(connection: Connection) -> dict[str, bool]:
    """The agents that have run here, and whether they take items; one that nobody asked yet is taken to."""
    found = connection.execute(sa.select(states.c.agent, states.c.takes_items))
    return {agent: takes_items is not False for agent, takes_items in found}


def update_state(connection: Connection, agent: str, **values: Any) -> None:
    """Change what is remembered of an agent."""
    connection.execute(sa.update(states).where(states.c.agent == agent).values(**values))


def forget(connection: Connection, before: float) -> None:
    """Drop runs that ended before an instant."""
    connection.execute(sa.delete(runs).where(runs.c.finished_at < before))
    connection.execute(sa.delete(traces).where(traces.c.run.not_in(sa.select(runs.c.id))))


_EMPTY = {"taken": 0, "succeeded": 0, "failed": 0}


def _columns() -> tuple[sa.Column[Any], ...]:
    c = runs.c
    return c.id, c.agent, c.trigger, c.scheduled_for, c.state, c.worker


def _run(row: Row[Any]) -> Run:
    return Run(**row._asdict())
