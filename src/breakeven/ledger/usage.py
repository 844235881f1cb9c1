"""What the calls of a period used, column by column: a million of them in seconds, where records would take minutes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import compress
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from breakeven.economics.bulk import CLASSES, NOBODY_SAID, TokenColumns
from breakeven.ledger.schema import attempts, calls, daily_totals
from breakeven.units import Usd

ROWS = 100_000
"""Attempts of one part."""
LOOKUP = 5_000
"""Calls whose attempts are looked up at once."""
ONE_GO = 10
"""From one call in so many on, reading all attempts is quicker than looking up those of each call."""
MICROSECONDS = len("2026-11-01T00:00:00.000000")


@dataclass(frozen=True, slots=True)
class Served:
    """Who served an attempt: the provider as configured or imported, the model it says it used, and where it ran."""

    provider: str
    model: str
    locality: str


@dataclass(frozen=True, slots=True, eq=False)
class UsagePart:
    """Some attempts; arrays and lists of one length.

    Attempts that brought nothing (an error before any answer) are left out: nobody counted or charges for any.

    Attributes:
        at: Unix seconds at which the call came in.
        served: who served each; positions in ``servers``.
        servers: the servers met so far, in this part and the parts before it.
        kept: whether it was the last of its call, whose answer the client got.
        counted: false where nobody counted; ``tokens`` has zeros there.
        tokens: by class.
        billed: dollars as recorded; ``None`` is unknown.
    """

    at: NDArray[np.float64]
    served: NDArray[np.int64]
    servers: tuple[Served, ...]
    kept: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    tokens: TokenColumns
    billed: list[Usd | None]

    def __len__(self) -> int:
        return len(self.at)


def read_usage(
    connection: Connection, since: float, until: float, *, origin: str | None = None, rows: int = ROWS
) -> Iterator[UsagePart]:
    """The attempts of calls received in ``since <= t < until`` (Unix seconds), in no particular order."""
    positions, times = _calls(connection, since, until, origin)
    if not positions:
        return
    several = sa.select(attempts.c.call_id, sa.func.max(attempts.c.number)).where(attempts.c.number > 1)
    last = {
        name: number for name, number in connection.execute(several.group_by(attempts.c.call_id)) if name in positions
    }
    servers: dict[tuple[str, str, str], int] = {}
    pages = _attempts(connection, list(positions), rows)
    while True:
        with _no_collection():
            if (found := next(pages, None)) is None:
                return
            names, numbers, *columns = zip(*found, strict=True)
            where = np.array([positions.get(name, -1) for name in names], dtype=np.int64)
            kept = [number == last.get(name, 1) for name, number in zip(names, numbers, strict=True)]
            part = _part(where, times, kept, columns, servers)
            del found, names, numbers, columns
        if len(part):
            yield part


def _calls(
    connection: Connection, since: float, until: float, origin: str | None
) -> tuple[dict[str, int], NDArray[np.float64]]:
    """The ids of the period with their positions, and when each came in."""
    on_sqlite = connection.dialect.name == "sqlite"
    text = sa.type_coerce(calls.c.received_at, sa.Text)
    at: Any = text if on_sqlite else sa.cast(sa.func.extract("epoch", calls.c.received_at), sa.Double)
    query = sa.select(calls.c.id, at).where(calls.c.received_at >= since, calls.c.received_at < until)
    if origin is not None:
        query = query.where(calls.c.origin == origin)
    with _no_collection():
        found = connection.execute(query).all()
        if not found:
            return {}, np.empty(0)
        names, moments = zip(*found, strict=True)
    if on_sqlite:  # ISO 8601 in UTC with six decimals, which numpy reads without the offset
        read = np.array([moment[:MICROSECONDS] for moment in moments], dtype="datetime64[us]")
        times = read.astype(np.int64) / 1e6
    else:
        times = np.array(moments, dtype=np.float64)
    return dict(zip(names, range(len(names)), strict=True)), times


def _attempts(connection: Connection, names: list[str], rows: int) -> Iterator[Sequence[Any]]:
    """The attempts of the calls named and perhaps of others: read in one go where the period is much of the ledger."""
    amount = sa.Text if connection.dialect.name == "sqlite" else sa.Numeric
    query = sa.select(
        attempts.c.call_id,
        attempts.c.number,
        attempts.c.provider,
        sa.func.coalesce(attempts.c.model_served, attempts.c.model_asked),
        attempts.c.locality,
        attempts.c.output.is_not(None),
        *(sa.func.coalesce(attempts.c[name], NOBODY_SAID if name == "reasoning" else 0) for name in CLASSES),
        attempts.c.cache_known,
        sa.type_coerce(attempts.c.billed_usd, amount),
    ).where(~(attempts.c.output.is_(None) & attempts.c.outcome.in_(("failed", "refused"))))
    everything = connection.scalar(sa.select(sa.func.sum(daily_totals.c.attempts))) or 0
    if len(names) * ONE_GO > everything:
        result = connection.execution_options(yield_per=rows).execute(query)
        yield from result.partitions(rows)
        return
    for start in range(0, len(names), LOOKUP):
        found = connection.execute(query.where(attempts.c.call_id.in_(names[start : start + LOOKUP]))).all()
        if found:
            yield found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Rows hold no cycles; looking for some among a million of them takes longer than reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _part(
    where: NDArray[np.int64],
    times: NDArray[np.float64],
    kept: list[bool],
    columns: list[tuple[Any, ...]],
    servers: dict[tuple[str, str, str], int],
) -> UsagePart:
    providers, models, localities, counted, *classes, cache_known, billed = columns
    here = where >= 0
    served = [servers.setdefault(server, len(servers)) for server in zip(providers, models, localities, strict=True)]
    tokens = {name: np.array(column, dtype=np.int64) for name, column in zip(CLASSES, classes, strict=True)}
    every = TokenColumns(**tokens, cache_known=np.array(cache_known, dtype=np.bool_))
    return UsagePart(
        at=times[where[here]],
        served=np.array(served, dtype=np.int64)[here],
        servers=tuple(Served(*server) for server in servers),
        kept=np.array(kept, dtype=np.bool_)[here],
        counted=np.array(counted, dtype=np.bool_)[here],
        tokens=every.where(here),
        billed=[None if amount is None else Decimal(amount) for amount in compress(billed, here.tolist())],
    )
