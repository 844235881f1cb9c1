"""Balances in PostgreSQL, spent from by any number of gateways.

Each reservation is one conditional UPDATE of a balance: PostgreSQL lets one through at a time and looks at the newest
figures each time. Several balances are taken in one transaction, always in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from breakeven.accounts.budget import Balance, Line, LineKey, Reservation, exhausted
from breakeven.accounts.history import spent_in_books
from breakeven.accounts.presence import Presence
from breakeven.accounts.transactions import reporting_outages
from breakeven.errors import LedgerUnavailable
from breakeven.units import ZERO_USD

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 8

_RESERVE = sa.text("""
    WITH held AS (
        UPDATE budget_balances SET reserved = reserved + CAST(:amount AS numeric)
        WHERE budget = :budget AND scope = :scope AND period = :period
            AND (CAST(:amount AS numeric) = 0 OR spent + reserved + CAST(:amount AS numeric) <= :most)
            AND EXISTS (SELECT 1 FROM processes WHERE id = :process)
        RETURNING spent, reserved
    ), kept AS (
        INSERT INTO budget_reservations (id, budget, scope, period, process, amount, reserved_at, released)
        SELECT :id, :budget, :scope, :period, :process, CAST(:amount AS numeric), now(), false FROM held
    )
    SELECT spent, reserved FROM held""")

_SETTLE = sa.text("""
    WITH gone AS (
        DELETE FROM budget_reservations WHERE id = :id AND budget = :budget AND scope = :scope AND period = :period
        RETURNING CASE WHEN released THEN 0 ELSE amount END AS held
    )
    UPDATE budget_balances SET spent = spent + CAST(:actual AS numeric), reserved = reserved - held
    FROM gone WHERE budget = :budget AND scope = :scope AND period = :period RETURNING spent, reserved""")
"""No reservation, no change: a settlement that is tried again after a lost connection counts once."""

_RELEASE_ORPHANS = sa.text("""
    WITH gone AS (
        UPDATE budget_reservations SET released = true
        WHERE budget = :budget AND scope = :scope AND period = :period
            AND NOT released AND process NOT IN (SELECT id FROM processes)
        RETURNING amount
    )
    UPDATE budget_balances SET reserved = reserved - (SELECT coalesce(sum(amount), 0) FROM gone)
    WHERE budget = :budget AND scope = :scope AND period = :period""")

_ORPHANED_LINES = sa.text("""
    SELECT DISTINCT budget, scope, period FROM budget_reservations
    WHERE NOT released AND process NOT IN (SELECT id FROM processes) ORDER BY 1, 2, 3""")
_FORGET = sa.text("DELETE FROM budget_reservations WHERE released AND reserved_at < now() - interval '1 day'")
_OPEN = sa.text(
    "INSERT INTO budget_balances (budget, scope, period, spent, reserved)"
    " VALUES (:budget, :scope, :period, :spent, 0) ON CONFLICT DO NOTHING"
)
_EXISTS = sa.text("SELECT 1 FROM budget_balances WHERE budget = :budget AND scope = :scope AND period = :period")
_READ = sa.text(
    "SELECT spent, reserved FROM budget_balances WHERE budget = :budget AND scope = :scope AND period = :period"
)


class SharedBudgets:
    """Balances that all gateways on one PostgreSQL share.

    Args:
        presence: of this gateway among the others; what it holds is given back when it is gone.
        flush: brings this gateway's own journal into the database before past spending is added up.
    """

    def __init__(self, engine: Engine, presence: Presence, flush: Callable[[], None]) -> None:
        self._engine = engine
        self._presence = presence
        self._flush = flush
        self._opened_at = time.time()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="breakeven-budgets")
        self._known: dict[LineKey, Balance] = {}
        self._owed: dict[str, tuple[Reservation, Decimal]] = {}
        self._running: set[asyncio.Task[Any]] = set()

    async def reserve(self, lines: tuple[Line, ...], amount: Decimal) -> Reservation:
        """As ``BudgetStore.reserve``. A caller that leaves while it waits holds nothing."""
        reservation = Reservation(uuid.uuid4().hex, amount, lines)
        reserving = self._start(self._reserve_in_thread(reservation))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            self._start(self._undo(reserving, reservation))
            raise

    async def settle(self, reservation: Reservation, actual: Decimal | None) -> None:
        """As ``BudgetStore.settle``; while the database is down it is remembered and made up for later.

        No new reservation is made in that time, so what is remembered is bounded by the calls in flight.
        """
        await asyncio.shield(self._start(self._settle(reservation, reservation.amount if actual is None else actual)))

    async def release(self, reservation: Reservation) -> None:
        """As ``BudgetStore.release``."""
        await self.settle(reservation, ZERO_USD)

    def balance(self, line: Line) -> Balance | None:
        """As ``BudgetStore.balance``: as of the last reservation, settlement or tick of this gateway."""
        return self._known.get(line.key)

    async def learn(self, lines: tuple[Line, ...]) -> None:
        """As ``BudgetStore.learn``, and see what other gateways did to these balances since."""
        self._known = await self._in_thread(partial(self._read, lines))

    async def tick(self, present: tuple[Line, ...] = ()) -> None:  # noqa: ARG002  balances are in the database
        """Make up for settlements that failed, and give back what dead gateways held."""
        for reservation, actual in list(self._owed.values()):
            await self._in_thread(partial(self._settle_now, reservation, actual))
            del self._owed[reservation.id]
        await self._in_thread(self._release_orphans)

    async def close(self) -> None:
        """Finish what runs. What could not be settled is given back when the others find this gateway gone."""
        if self._running:
            await asyncio.wait(self._running)
        if self._owed:
            with suppress(LedgerUnavailable):
                await self.tick()
        for reservation, actual in self._owed.values():
            log.error("%s USD of a call could not be settled in its budgets: %s", actual, reservation.lines)
        self._threads.shutdown()

    async def _reserve_in_thread(self, reservation: Reservation) -> Reservation:
        await self._in_thread(partial(self._reserve, reservation))
        return reservation

    def _reserve(self, reservation: Reservation) -> None:
        short = self._try_to_reserve(reservation)
        if short is not None and self._prepare(reservation.lines):
            short = self._try_to_reserve(reservation)
        if short is not None:
            balance = self._current(short)
            if balance is None:
                raise LedgerUnavailable(f"the balance of budget {short.budget.name!r} has vanished from the database")
            raise exhausted(short, balance, reservation.amount, time.time())

    def _try_to_reserve(self, reservation: Reservation) -> Line | None:
        """Hold the amount in all lines, or in none and return the first that it does not fit."""
        with reporting_outages(), self._engine.connect() as connection, connection.begin() as transaction:
            after = {}
            for line in reservation.lines:
                parameters = _parameters(line) | {"id": reservation.id, "process": self._presence.process}
                parameters |= {"amount": reservation.amount, "most": line.budget.usd}
                row = connection.execute(_RESERVE, parameters).one_or_none()
                if row is None:
                    transaction.rollback()
                    return line
                after[line.key] = Balance(row.spent, row.reserved)
        self._known.update(after)
        return None

    async def _undo(self, reserving: asyncio.Task[Reservation], reservation: Reservation) -> None:
        await asyncio.wait([reserving])
        if reserving.exception() is None:
            await self._settle(reservation, ZERO_USD)

    async def _settle(self, reservation: Reservation, actual: Decimal) -> None:
        if reservation.id in self._owed:
            return
        try:
            await self._in_thread(partial(self._settle_now, reservation, actual))
        except LedgerUnavailable as error:
            log.warning("%s; a settlement of %s USD is made up for later", error.message, actual)
            self._owed[reservation.id] = reservation, actual

    def _settle_now(self, reservation: Reservation, actual: Decimal) -> None:
        after = {}
        with reporting_outages(), self._engine.begin() as connection:
            for line in reservation.lines:
                parameters = _parameters(line) | {"id": reservation.id, "actual": actual}
                row = connection.execute(_SETTLE, parameters).one_or_none()
                if row is not None:
                    after[line.key] = Balance(row.spent, row.reserved)
        self._known.update(after)

    def _prepare(self, lines: tuple[Line, ...]) -> bool:
        """Make up for a gateway that was struck off and for balances that do not exist; whether there was need."""
        absent = not self._presence.is_known()
        if absent:
            self._presence.beat()
        missing = tuple(line for line in lines if self._current(line) is None)
        if missing:
            self._open(missing)
        return absent or bool(missing)

    def _current(self, line: Line) -> Balance | None:
        with reporting_outages(), self._engine.connect() as connection:
            return _balance(connection, line)

    def _read(self, lines: tuple[Line, ...]) -> dict[LineKey, Balance]:
        with reporting_outages(), self._engine.connect() as connection:
            found = {line.key: _balance(connection, line) for line in lines}
        if missing := tuple(line for line in lines if found[line.key] is None):
            self._open(missing)
            with reporting_outages(), self._engine.connect() as connection:
                found |= {line.key: _balance(connection, line) for line in missing}
        return {key: balance for key, balance in found.items() if balance is not None}

    def _open(self, lines: tuple[Line, ...]) -> None:
        """Make the balances that do not exist yet, starting from the books."""
        if any(line.window.start < self._opened_at for line in lines):
            self._flush()
        with reporting_outages(), self._engine.begin() as connection:
            for line in lines:
                if connection.execute(_EXISTS, _parameters(line)).one_or_none() is None:
                    spent = spent_in_books(connection, line)
                    connection.execute(_OPEN, _parameters(line) | {"spent": spent})

    def _release_orphans(self) -> None:
        with reporting_outages(), self._engine.connect() as connection:
            with connection.begin():
                lines = [dict(row) for row in connection.execute(_ORPHANED_LINES).mappings()]
            for line in lines:
                with connection.begin():
                    connection.execute(_RELEASE_ORPHANS, line)
                log.warning("what a dead gateway held in budget %r is given back", line["budget"])
            with connection.begin():
                connection.execute(_FORGET)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _parameters(line: Line) -> dict[str, Any]:
    return dict(zip(("budget", "scope", "period"), line.key, strict=True))


def _balance(connection: Connection, line: Line) -> Balance | None:
    row = connection.execute(_READ, _parameters(line)).one_or_none()
    return None if row is None else Balance(row.spent, row.reserved)
