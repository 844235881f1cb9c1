"""What circuit breakers find, told to the other gateways on the same PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

from breakeven.accounts.tables import verdicts
from breakeven.accounts.transactions import reporting_outages


@dataclass(frozen=True, slots=True)
class Verdict:
    """A breaker's state for a model of a provider.

    Attributes:
        state: ``open`` or ``closed``.
        until: Unix seconds after which it says nothing any more.
    """

    provider: str
    model: str
    state: str
    until: float


class VerdictBoard(Protocol):
    """Where breakers write what they found and read what others found. Nothing here waits for a database."""

    def publish(self, verdict: Verdict) -> None:
        """Tell the others, within about a second; the newest verdict on a model replaces the one before."""
        ...

    def of_others(self) -> Mapping[tuple[str, str], Verdict]:
        """What other gateways found, by provider and model, as of about a second ago."""
        ...

    async def tick(self) -> None:
        """Exchange verdicts; raises ``LedgerUnavailable`` while the database is down."""
        ...


class NoOthers:
    """The board of a gateway that shares its database with none."""

    def publish(self, verdict: Verdict) -> None:
        """Nobody listens."""

    def of_others(self) -> Mapping[tuple[str, str], Verdict]:
        """Nobody speaks."""
        return {}

    async def tick(self) -> None:
        """Nothing to exchange."""


class SharedVerdicts:
    """The board in PostgreSQL. What waits to be written is at most one verdict for each model.

    Args:
        process: id of this gateway, whose own verdicts are not read back.
    """

    def __init__(self, engine: Engine, process: str, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._process = process
        self._clock = clock
        self._outgoing: dict[tuple[str, str], Verdict] = {}
        self._others: dict[tuple[str, str], Verdict] = {}

    def publish(self, verdict: Verdict) -> None:
        """As ``VerdictBoard.publish``."""
        self._outgoing[verdict.provider, verdict.model] = verdict
        self._others.pop((verdict.provider, verdict.model), None)

    def of_others(self) -> Mapping[tuple[str, str], Verdict]:
        """As ``VerdictBoard.of_others``."""
        now = self._clock()
        return {key: verdict for key, verdict in self._others.items() if verdict.until > now}

    async def tick(self) -> None:
        """As ``VerdictBoard.tick``."""
        outgoing = dict(self._outgoing)
        others = await asyncio.to_thread(self._exchange, outgoing)
        for key, verdict in outgoing.items():
            if self._outgoing.get(key) is verdict:
                del self._outgoing[key]
        self._others = {key: verdict for key, verdict in others.items() if key not in self._outgoing}

    def _exchange(self, outgoing: Mapping[tuple[str, str], Verdict]) -> dict[tuple[str, str], Verdict]:
        insert = postgresql.insert(verdicts)
        columns = ("state", "until", "process")
        upsert = insert.on_conflict_do_update(
            index_elements=["provider", "model"], set_={name: insert.excluded[name] for name in columns}
        )
        rows = [
            {
                "provider": verdict.provider,
                "model": verdict.model,
                "state": verdict.state,
                "until": verdict.until,
                "process": self._process,
            }
            for _, verdict in sorted(outgoing.items())
        ]
        of_others = sa.select(verdicts).where(verdicts.c.process != self._process, verdicts.c.until > self._clock())
        with reporting_outages(), self._engine.begin() as connection:
            if rows:
                connection.execute(upsert, rows)
            found = connection.execute(of_others).all()
        return {(row.provider, row.model): Verdict(row.provider, row.model, row.state, row.until) for row in found}
