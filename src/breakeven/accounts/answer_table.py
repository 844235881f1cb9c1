"""Claims on idempotency keys and the answers to them, in the database."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, RowMapping

from breakeven.accounts.answers import Answer
from breakeven.accounts.idempotency import Slot, conflict
from breakeven.accounts.tables import idempotent_calls, processes
from breakeven.accounts.transactions import reporting_outages, writing
from breakeven.config import IdempotencySettings
from breakeven.errors import AnswerNotKept

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
SECONDS_PER_HOUR = 3600.0
_columns = idempotent_calls.c
_decode_headers = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


class AnswerTable:
    """The ``AnswerStore`` of gateways on one database.

    Args:
        process: id of this gateway. What another one has in flight is taken over once it is not in ``processes``; on
            SQLite no other is alive, since the database is locked.
    """

    def __init__(
        self,
        engine: Engine,
        settings: IdempotencySettings,
        process: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._process = process
        self._clock = clock
        self._swept_at = 0.0

    async def claim(self, slot: Slot, fingerprint: str) -> str | Answer | None:
        """As ``AnswerStore.claim``."""
        return await asyncio.to_thread(self._claim, slot, fingerprint)

    async def keep(self, slot: Slot, lease: str, answer: Answer) -> None:
        """As ``AnswerStore.keep``."""
        await asyncio.to_thread(self._keep, slot, lease, answer)

    async def free(self, slot: Slot, lease: str) -> None:
        """As ``AnswerStore.free``."""
        await asyncio.to_thread(self._free, slot, lease)

    async def tick(self) -> None:
        """As ``AnswerStore.tick``; looks once a minute."""
        if self._clock() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = self._clock()
            await asyncio.to_thread(self._sweep)

    def _claim(self, slot: Slot, fingerprint: str) -> str | Answer | None:
        now, lease = self._clock(), uuid.uuid4().hex
        row = {
            "scope": slot.scope,
            "key": slot.key,
            "fingerprint": fingerprint,
            "process": self._process,
            "lease": lease,
            "expires_at": now + self._settings.hours * SECONDS_PER_HOUR,
            "status": None,
            "headers": None,
            "body": None,
            "size": 0,
        }
        with reporting_outages(), writing(self._engine) as connection:
            connection.execute(idempotent_calls.delete().where(*_in(slot), _columns.expires_at <= now))
            if connection.execute(self._insert_new(row)).rowcount == 1:
                return lease
            query = sa.select(idempotent_calls).where(*_in(slot)).with_for_update()
            found = connection.execute(query).mappings().one_or_none()
            if found is None:
                return None  # freed just now: the next look finds it so
            if found["fingerprint"] != fingerprint:
                raise conflict(slot)
            if found["status"] is not None:
                return _answer(slot, found)
            if self._is_alive(connection, found["process"]):
                return None
            connection.execute(idempotent_calls.update().where(*_in(slot)).values(process=self._process, lease=lease))
            return lease

    def _insert_new(self, row: dict[str, Any]) -> sa.Insert:
        insert: Any = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        statement: sa.Insert = insert(idempotent_calls).values(row).on_conflict_do_nothing()
        return statement

    def _is_alive(self, connection: Connection, process: str) -> bool:
        """Whether someone works on a call. We ourselves do not: who asks has looked at our own leases before."""
        if process == self._process:
            return False
        return connection.scalar(sa.select(processes.c.id).where(processes.c.id == process)) is not None

    def _keep(self, slot: Slot, lease: str, answer: Answer) -> None:
        fits = answer.size <= self._settings.max_answer_bytes
        values = {
            "status": answer.status,
            "headers": msgspec.json.encode(answer.headers).decode(),
            "body": answer.body if fits else None,
            "size": answer.size if fits else 0,
        }
        kept = idempotent_calls.update().where(*_in(slot), _columns.lease == lease).values(**values)
        with reporting_outages(), writing(self._engine) as connection:
            if connection.execute(kept).rowcount == 0:
                log.warning(
                    "the answer to idempotency key %r is not kept: another gateway took this one for dead", slot.key
                )

    def _free(self, slot: Slot, lease: str) -> None:
        with reporting_outages(), writing(self._engine) as connection:
            connection.execute(idempotent_calls.delete().where(*_in(slot), _columns.lease == lease))

    def _sweep(self) -> None:
        with reporting_outages(), writing(self._engine) as connection:
            connection.execute(idempotent_calls.delete().where(_columns.expires_at <= self._clock()))
            excess = int(connection.scalar(sa.select(sa.func.sum(_columns.size))) or 0) - self._settings.max_bytes
            if excess <= 0:
                return
            oldest = sa.select(_columns.scope, _columns.key, _columns.size).where(_columns.size > 0)
            dropped = 0
            for scope, key, size in connection.execute(oldest.order_by(_columns.expires_at)).all():
                if excess <= 0:
                    break
                connection.execute(idempotent_calls.delete().where(_columns.scope == scope, _columns.key == key))
                excess -= size
                dropped += 1
        log.warning("idempotency.max_bytes is reached: %d answers were dropped before their time", dropped)


def _in(slot: Slot) -> tuple[sa.ColumnElement[bool], ...]:
    return _columns.scope == slot.scope, _columns.key == slot.key


def _answer(slot: Slot, row: RowMapping) -> Answer:
    if row["body"] is None:
        raise AnswerNotKept(
            f"the call with Idempotency-Key {slot.key!r} was answered before, at a length that is not kept",
            remedy="Send a new key to ask, and pay, once more; or raise idempotency.max_answer_bytes.",
        )
    return Answer(row["status"], _decode_headers(row["headers"]), bytes(row["body"]))
