"""The queue of items: each belongs to an agent and is known by a key, so that putting it in twice is once."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, Row

from breakeven.agents.database import items, storable

Origin: TypeAlias = Literal["queue", "source", "tick"]
OPEN = ("assigned", "working")
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Item:
    """One item as a worker takes it.

    Attributes:
        payload: JSON; what the agent works on.
        attempt: counts from 1; a retried dead letter or a replayed item gets another one.
        continues: the attempt was put back and goes on under its own name and keys.
        from_step: step from which a new attempt goes on, earlier ones being taken over; ``None`` for all anew.
        takeovers: workers that died with it in hand.
    """

    id: int
    agent: str
    key: str
    payload: Any
    priority: int
    attempt: int
    from_step: int | None
    continues: bool
    takeovers: int
    run: str | None

    @property
    def workflow(self) -> str:
        """The name of this attempt in the durable engine."""
        return workflow_id(self.agent, self.id, self.attempt)


@dataclass(frozen=True, slots=True)
class New:
    """An item to be put in."""

    payload: Any
    key: str | None = None
    priority: int = 0


def workflow_id(agent: str, item: int, attempt: int) -> str:
    """What an attempt is called in the durable engine, and in ``x-breakeven-chain``."""
    return f"{agent}/{item}/{attempt}"


def item_number(workflow: str) -> int:
    """The item of an attempt, by what the attempt is called.

    >>> item_number(workflow_id("triage", 17, 2))
    17
    """
    return int(workflow.split("/")[1])


def enqueue(connection: Connection, agent: str, new: Iterable[New], *, origin: Origin = "queue") -> int:
    """Put items in, in the caller's transaction; those whose key is known already change nothing. How many were new."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(items).on_conflict_do_nothing(index_elements=["agent", "key"]).returning(items.c.id)
    at, added = time.time(), 0
    for chunk in _chunks(new):
        rows = [
            {
                "agent": agent,
                "key": storable(item.key) if item.key is not None else uuid.uuid4().hex,
                "payload": storable(json.dumps(item.payload, ensure_ascii=False)),
                "origin": origin,
                "state": "ready",
                "priority": item.priority,
                "attempt": 1,
                "continues": False,
                "takeovers": 0,
                "enqueued_at": at,
                "not_before": 0.0,
            }
            for item in chunk
        ]
        added += len(connection.execute(statement, rows).all())
    return added


def assign(connection: Connection, agent: str, run: str, most: int, now: float, *, only_key: str | None = None) -> int:
    """Give a run up to ``most`` ready items, the most urgent and oldest first. How many it got."""
    ready = (items.c.agent == agent, items.c.state == "ready", items.c.not_before <= now)
    chosen = (
        sa.select(items.c.id)
        .where(*ready, *([items.c.key == only_key] if only_key is not None else []))
        .order_by(items.c.priority.desc(), items.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    update = sa.update(items).where(items.c.id.in_(chosen.scalar_subquery())).values(state="assigned", run=run)
    return connection.execute(update).rowcount


def claim(engine: Engine, agent: str, worker: str, most: int) -> list[Item]:
    """Take up to ``most`` assigned items of an agent; no other worker gets them."""
    chosen = (
        sa.select(items.c.id)
        .where(items.c.agent == agent, items.c.state == "assigned")
        .order_by(items.c.priority.desc(), items.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    update = (
        sa.update(items)
        .where(items.c.id.in_(chosen.scalar_subquery()))
        .values(state="working", worker=worker, started_at=sa.func.coalesce(items.c.started_at, time.time()))
        .returning(*_columns())
    )
    with engine.begin() as connection:
        return sorted((_item(row) for row in connection.execute(update)), key=lambda item: (-item.priority, item.id))


def settle(connection: Connection, item: Item, worker: str, state: Literal["done", "dead"], **more: Any) -> bool:
    """Note how an item ended, unless another worker has it by now."""
    mine = (items.c.id == item.id, items.c.state == "working", items.c.worker == worker)
    return bool(
        connection.execute(
            sa.update(items).where(*mine).values(state=state, worker=None, finished_at=time.time(), **more)
        ).rowcount
    )


def put_back(connection: Connection, item: Item, worker: str, *, not_before: float, step: int | None, why: str) -> bool:
    """Let an item wait for another wake-up, to go on from a step; unless another worker has it by now."""
    mine = (items.c.id == item.id, items.c.state == "working", items.c.worker == worker)
    again = {
        "state": "ready",
        "worker": None,
        "run": None,
        "continues": True,
        "from_step": step,
        "not_before": not_before,
        "error": why,
    }
    return bool(connection.execute(sa.update(items).where(*mine).values(**again)).rowcount)


def take_over(connection: Connection, dead: str) -> int:
    """Let the items of a dead worker be claimed again. How many there were."""
    update = (
        sa.update(items)
        .where(items.c.state == "working", items.c.worker == dead)
        .values(state="assigned", worker=None, takeovers=items.c.takeovers + 1)
    )
    return connection.execute(update).rowcount


def let_go(connection: Connection, worker: str, in_hand: Collection[int]) -> int:
    """Let items be claimed again that a worker was given and never heard of. How many there were."""
    mine = (items.c.state == "working", items.c.worker == worker, items.c.id.not_in(in_hand))
    return connection.execute(sa.update(items).where(*mine).values(state="assigned", worker=None)).rowcount


def open_items(connection: Connection, run: str) -> int:
    """Items of a run that have not ended."""
    counted = sa.select(sa.func.count()).where(items.c.run == run, items.c.state.in_(OPEN))
    return int(connection.scalar(counted) or 0)


def release(connection: Connection, run: str) -> list[Item]:
    """Take from a run the items that nobody has begun, and name those at work."""
    unbegun = (items.c.run == run, items.c.state == "assigned")
    connection.execute(sa.update(items).where(*unbegun).values(state="ready", run=None))
    at_work = sa.select(*_columns()).where(items.c.run == run, items.c.state == "working")
    return [_item(row) for row in connection.execute(at_work)]


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Items by agent and state."""
    grouped = sa.select(items.c.agent, items.c.state, sa.func.count()).group_by(items.c.agent, items.c.state)
    found: dict[str, dict[str, int]] = {}
    for agent, state, number in connection.execute(grouped):
        found.setdefault(agent, {})[state] = number
    return found


def forget(connection: Connection, before: float) -> None:
    """Drop items that ended before an instant; of those from a source the key stays, or they would come again."""
    old = (items.c.state.in_(("done", "dropped")), items.c.finished_at < before)
    connection.execute(sa.delete(items).where(*old, items.c.origin != "source"))
    connection.execute(sa.update(items).where(*old, items.c.payload.is_not(None)).values(payload=None))


def _chunks(new: Iterable[New]) -> Iterator[list[New]]:
    rest = iter(new)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _columns() -> tuple[sa.Column[Any], ...]:
    c = items.c
    return c.id, c.agent, c.key, c.payload, c.priority, c.attempt, c.from_step, c.continues, c.takeovers, c.run


def _item(row: Row[Any]) -> Item:
    return Item(**{**row._asdict(), "payload": json.loads(row.payload or "null")})
