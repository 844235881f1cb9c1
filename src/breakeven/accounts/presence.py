"""Which gateways are alive, so that what dead ones held can be given back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from breakeven.accounts.transactions import reporting_outages

DEAD_SECONDS = 15.0
"""Silence after which a gateway counts as dead."""

_BEAT = sa.text(
    "INSERT INTO processes (id, seen_at) VALUES (:id, now()) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
)
_BURY = sa.text("DELETE FROM processes WHERE seen_at < now() - :silence * interval '1 second'")
_KNOWN = sa.text("SELECT 1 FROM processes WHERE id = :id FOR KEY SHARE")
_LEAVE = sa.text("DELETE FROM processes WHERE id = :id")


class Presence:
    """This gateway among those that share a PostgreSQL; times are the database's.

    Attributes:
        process: its id, new at each start.
    """

    def __init__(
        self, engine: Engine, dead_seconds: float = DEAD_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.process = uuid.uuid4().hex
        self._engine = engine
        self._dead_seconds = dead_seconds
        self._clock = clock
        self._steady_since: float | None = None
        self._beat_at = 0.0

    def beat(self) -> None:
        """Say that this gateway lives, and strike off those that have been silent for too long.

        One that was itself out of touch strikes off nobody until the others had time to be heard again: after an outage
        of the database all have been silent.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        now = self._clock()
        if self._steady_since is None or now - self._beat_at > self._dead_seconds / 2:
            self._steady_since = now
        with reporting_outages(), self._engine.begin() as connection:
            connection.execute(_BEAT, {"id": self.process})
            if now - self._steady_since > self._dead_seconds:
                connection.execute(_BURY, {"silence": self._dead_seconds})
        self._beat_at = now

    def assert_alive(self, connection: Connection) -> None:
        """Be among the living until this transaction ends, also if the others have struck this gateway off."""
        if connection.execute(_KNOWN, {"id": self.process}).one_or_none() is None:
            connection.execute(_BEAT, {"id": self.process})

    def leave(self) -> None:
        """Be struck off at once; errors as ``beat``."""
        with reporting_outages(), self._engine.begin() as connection:
            connection.execute(_LEAVE, {"id": self.process})
