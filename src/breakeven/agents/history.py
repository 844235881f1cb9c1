"""What happened, read back from the database: runs, items, and the steps of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient
from sqlalchemy.engine import Connection, Engine

from breakeven.agents.database import items, runs, url_of
from breakeven.agents.queue import workflow_id
from breakeven.agents.records import JsonRecords
from breakeven.agents.report import RunRow


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item as it stands; times are Unix seconds."""

    id: int
    agent: str
    key: str
    state: str
    attempt: int
    run: str | None
    step: str | None
    error: str | None
    enqueued_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as it was recorded."""

    number: int
    name: str
    started_at: float | None
    seconds: float | None
    output: Any
    error: str | None


def runs_since(connection: Connection, since: float) -> list[RunRow]:
    """Runs that were due at an instant or later, oldest first."""
    c = runs.c
    found = sa.select(c.agent, c.state, c.started_at, c.due_at, c.succeeded, c.failed)
    return [
        RunRow(
            row.agent,
            row.state,
            None if row.started_at is None else max(0.0, row.started_at - row.due_at),
            row.succeeded,
            row.failed,
        )
        for row in connection.execute(found.where(c.due_at >= since).order_by(c.due_at))
    ]


def last_runs(connection: Connection) -> dict[str, tuple[str, float, str | None]]:
    """Of each agent the state, the due time and the error of its newest run."""
    newest = sa.select(runs.c.agent, sa.func.max(runs.c.scheduled_for).label("at")).group_by(runs.c.agent).subquery()
    found = sa.select(runs.c.agent, runs.c.state, runs.c.scheduled_for, runs.c.error).join(
        newest, (runs.c.agent == newest.c.agent) & (runs.c.scheduled_for == newest.c.at)
    )
    return {row.agent: (row.state, row.scheduled_for, row.error) for row in connection.execute(found)}


def recent_items(connection: Connection, agent: str | None, most: int) -> list[ItemRow]:
    """The items that moved last, newest first."""
    moved = sa.func.coalesce(items.c.finished_at, items.c.started_at, items.c.enqueued_at)
    columns = [items.c[name] for name in ItemRow.__dataclass_fields__]
    found = sa.select(*columns).where(*([items.c.agent == agent] if agent is not None else []))
    return [ItemRow(*row) for row in connection.execute(found.order_by(moved.desc()).limit(most))]


def item(connection: Connection, number: int) -> ItemRow | None:
    """One item."""
    columns = [items.c[name] for name in ItemRow.__dataclass_fields__]
    row = connection.execute(sa.select(*columns).where(items.c.id == number)).first()
    return None if row is None else ItemRow(*row)


def steps(engine: Engine, of: ItemRow) -> list[StepRow]:
    """The recorded steps of an item's latest attempt that has any."""
    client = DBOSClient(
        system_database_url=url_of(engine), system_database_engine=engine, serializer=JsonRecords(), lazy=True
    )
    try:
        for attempt in range(of.attempt, 0, -1):
            found = client.list_workflow_steps(workflow_id(of.agent, of.id, attempt))
            if found:
                return [_step(step) for step in found]
    finally:
        client.destroy()
    return []


def _step(step: Any) -> StepRow:
    started, completed = step["started_at_epoch_ms"], step["completed_at_epoch_ms"]
    return StepRow(
        step["function_id"],
        step["function_name"],
        None if started is None else started / 1000,
        None if started is None or completed is None else (completed - started) / 1000,
        step["output"],
        None if step["error"] is None else str(step["error"]),
    )
