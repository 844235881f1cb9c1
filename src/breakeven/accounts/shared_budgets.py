"""Balances in PostgreSQL, spent from by any number of gateways.

Reservations and settlements that arrive while a transaction runs go into the next one together: it locks the balances
they touch, always in the same order, applies the arithmetic of ``budget`` to the newest figures, and writes them back.
One commit that waits for the disk thus serves all calls that wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from breakeven.accounts.budget import Balance, Line, LineKey, Reservation, reserve_all
from breakeven.accounts.history import spent_in_books
from breakeven.accounts.presence import Presence
from breakeven.accounts.tables import budget_balances, budget_reservations
from breakeven.accounts.transactions import reporting_outages
from breakeven.errors import BudgetExhausted, LedgerUnavailable
from breakeven.units import ZERO_USD

log = logging.getLogger(__name__)

LARGEST_BATCH = 200
KEPT = timedelta(days=400)
"""How long the balances of ended windows stay to be looked at."""

_balances, _reservations = budget_balances.c, budget_reservations.c
_LINE = ("budget", "scope", "period")
_IS_LINE = sa.and_(*(_balances[name] == sa.bindparam(f"of_{name}") for name in _LINE))
_WRITE = budget_balances.update().where(_IS_LINE).values(spent=sa.bindparam("new_spent"), reserved=sa.bindparam("held"))
_OPEN = sa.text(
    "INSERT INTO budget_balances (budget, scope, period, spent, reserved)"
    " VALUES (:budget, :scope, :period, :spent, 0) ON CONFLICT DO NOTHING"
)
_ORPHANED_LINES = sa.text("""
    SELECT DISTINCT budget, scope, period FROM budget_reservations
    WHERE NOT released AND process NOT IN (SELECT id FROM processes) ORDER BY 1, 2, 3""")
_RELEASE_ORPHANS = sa.text("""
    UPDATE budget_reservations SET released = true
    WHERE budget = :budget AND scope = :scope AND period = :period
        AND NOT released AND process NOT IN (SELECT id FROM processes)
    RETURNING amount""")
_FORGET_RESERVATIONS = sa.text(
    "DELETE FROM budget_reservations WHERE released AND reserved_at < now() - interval '1 day'"
)
_FORGET_BALANCES = sa.text("DELETE FROM budget_balances WHERE period <> 'total' AND period < :before")


@dataclass(eq=False, slots=True)
class _Operation:
    """A reservation to make, or with ``actual`` to settle; ``done`` once the transaction is."""

    reservation: Reservation
    actual: Decimal | None = None
    done: asyncio.Future[None] = field(default_factory=asyncio.Future)


class _Missing(Exception):
    """Some lines have no balance yet."""


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
        self._known: dict[LineKey, Balance] = {}
        self._waiting: list[_Operation] = []
        self._worker: asyncio.Task[None] | None = None
        self._owed: dict[str, _Operation] = {}

    async def reserve(self, lines: tuple[Line, ...], amount: Decimal) -> Reservation:
        """As ``BudgetStore.reserve``. A caller that leaves while it waits holds nothing."""
        operation = _Operation(Reservation(uuid.uuid4().hex, amount, lines))
        self._enqueue(operation)
        try:
            await asyncio.shield(operation.done)
        except asyncio.CancelledError:
            operation.done.add_done_callback(lambda done: self._undo(operation.reservation, done))
            raise
        return operation.reservation

    async def settle(self, reservation: Reservation, actual: Decimal | None) -> None:
        """As ``BudgetStore.settle``; while the database is down it is remembered and made up for later.

        No new reservation is made in that time, so what is remembered is bounded by the calls in flight.
        """
        if reservation.id not in self._owed:
            operation = _Operation(reservation, reservation.amount if actual is None else actual)
            self._enqueue(operation)
            await asyncio.shield(operation.done)

    async def release(self, reservation: Reservation) -> None:
        """As ``BudgetStore.release``."""
        await self.settle(reservation, ZERO_USD)

    def balance(self, line: Line) -> Balance | None:
        """As ``BudgetStore.balance``: as of this gateway's last transaction or tick."""
        return self._known.get(line.key)

    async def learn(self, lines: tuple[Line, ...]) -> None:
        """As ``BudgetStore.learn``, and see what other gateways did to these balances since."""
        self._known = await asyncio.to_thread(self._read, lines)

    async def tick(self, present: tuple[Line, ...] = ()) -> None:  # noqa: ARG002  balances are in the database
        """Make up for settlements that failed, and give back what dead gateways held."""
        if owed := list(self._owed.values()):
            await asyncio.to_thread(self._apply, owed)
            for operation in owed:
                del self._owed[operation.reservation.id]
        await asyncio.to_thread(self._tidy)

    async def close(self) -> None:
        """Finish what waits. What could not be settled is given back when the others find this gateway gone."""
        if self._worker is not None:
            await self._worker
        if self._owed:
            with suppress(LedgerUnavailable):
                await self.tick()
        for operation in self._owed.values():
            budgets = ", ".join(line.budget.name for line in operation.reservation.lines)
            log.error("%s USD of a call could not be settled in the budgets %s", operation.actual, budgets)

    def _enqueue(self, operation: _Operation) -> None:
        self._waiting.append(operation)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    def _undo(self, reservation: Reservation, reserved: asyncio.Future[None]) -> None:
        if reserved.exception() is None:
            self._enqueue(_Operation(reservation, ZERO_USD))

    async def _work(self) -> None:
        while self._waiting:
            batch = self._waiting[:LARGEST_BATCH]
            del self._waiting[:LARGEST_BATCH]
            try:
                refusals = await asyncio.to_thread(self._apply, batch)
            except LedgerUnavailable as error:
                self._fail(batch, error)
            except Exception as error:
                log.exception("%d reservations and settlements failed", len(batch))
                for operation in batch:
                    operation.done.set_exception(error)
            else:
                for operation in batch:
                    if (refusal := refusals.get(operation.reservation.id)) is not None and operation.actual is None:
                        operation.done.set_exception(refusal)
                    else:
                        operation.done.set_result(None)

    def _fail(self, batch: Sequence[_Operation], error: LedgerUnavailable) -> None:
        settlements = [operation for operation in batch if operation.actual is not None]
        if settlements:
            log.warning("%s; %d settlements are made up for later", error.message, len(settlements))
        for operation in batch:
            if operation.actual is None:
                operation.done.set_exception(error)
            else:
                self._owed[operation.reservation.id] = operation
                operation.done.set_result(None)

    def _apply(self, batch: Sequence[_Operation]) -> dict[str, BudgetExhausted]:
        """Do all of a batch in one transaction; returns the reservations that do not fit."""
        try:
            return self._try_to_apply(batch)
        except _Missing:
            lines = {line.key: line for operation in batch for line in operation.reservation.lines}
            self._open(list(lines.values()))
            return self._try_to_apply(batch)

    def _try_to_apply(self, batch: Sequence[_Operation]) -> dict[str, BudgetExhausted]:
        lines = {line.key: line for operation in batch for line in operation.reservation.lines}
        reserving = [operation.reservation for operation in batch if operation.actual is None]
        settling: dict[str, Decimal] = {}
        for operation in batch:
            if operation.actual is not None:
                settling.setdefault(operation.reservation.id, operation.actual)
        with reporting_outages(), self._engine.begin() as connection:
            before = _lock(connection, lines)
            if any(line.key not in before for reservation in reserving for line in reservation.lines):
                raise _Missing
            after = dict(before)
            if settling:
                _settle(connection, after, settling)
            if reserving:
                self._presence.assert_alive(connection)
            refusals, rows = self._reserve(after, reserving)
            if rows:
                connection.execute(budget_reservations.insert(), rows)
            if changed := [key for key in after if after[key] != before[key]]:
                connection.execute(_WRITE, [_values(key, after[key]) for key in sorted(changed)])
        self._known.update(after)
        return refusals

    def _reserve(
        self, balances: dict[LineKey, Balance], reserving: Iterable[Reservation]
    ) -> tuple[dict[str, BudgetExhausted], list[dict[str, Any]]]:
        now = time.time()
        refusals: dict[str, BudgetExhausted] = {}
        rows: list[dict[str, Any]] = []
        for reservation in reserving:
            keys = [line.key for line in reservation.lines]
            try:
                held = reserve_all(reservation.lines, [balances[key] for key in keys], reservation.amount, now)
            except BudgetExhausted as error:
                refusals[reservation.id] = error
                continue
            balances.update(zip(keys, held, strict=True))
            rows += [
                dict(zip(_LINE, key, strict=True))
                | {"id": reservation.id, "process": self._presence.process, "amount": reservation.amount}
                | {"reserved_at": now, "released": False}
                for key in keys
            ]
        return refusals, rows

    def _read(self, lines: tuple[Line, ...]) -> dict[LineKey, Balance]:
        wanted = {line.key: line for line in lines}
        with reporting_outages(), self._engine.connect() as connection:
            found = _find(connection, wanted)
        if missing := [line for key, line in wanted.items() if key not in found]:
            self._open(missing)
            with reporting_outages(), self._engine.connect() as connection:
                found = _find(connection, wanted)
        return found

    def _open(self, lines: list[Line]) -> None:
        """Make the balances that do not exist yet, starting from the books."""
        if any(line.window.start < self._opened_at for line in lines):
            self._flush()
        with reporting_outages(), self._engine.begin() as connection:
            found = _find(connection, {line.key: line for line in lines})
            for line in lines:
                if line.key not in found:
                    spent = spent_in_books(connection, line)
                    connection.execute(_OPEN, dict(zip(_LINE, line.key, strict=True)) | {"spent": spent})

    def _tidy(self) -> None:
        with reporting_outages(), self._engine.connect() as connection:
            with connection.begin():
                orphaned = [tuple(row) for row in connection.execute(_ORPHANED_LINES)]
            for key in orphaned:
                with connection.begin():
                    balance = _lock(connection, [key])[key]
                    amounts = connection.execute(_RELEASE_ORPHANS, dict(zip(_LINE, key, strict=True))).scalars()
                    for amount in amounts.all():
                        balance = balance.settle(amount, ZERO_USD)
                    connection.execute(_WRITE, _values(key, balance))
                log.warning("what a dead gateway held in budget %r is given back", key[0])
            with connection.begin():
                connection.execute(_FORGET_RESERVATIONS)
                connection.execute(_FORGET_BALANCES, {"before": f"{datetime.now(UTC) - KEPT:%Y-%m}"})


def _find(connection: Connection, keys: Iterable[LineKey], *, lock: bool = False) -> dict[LineKey, Balance]:
    line = sa.tuple_(*(_balances[name] for name in _LINE))
    query = sa.select(budget_balances).where(line.in_(list(keys))).order_by(*(_balances[name] for name in _LINE))
    rows = connection.execute(query.with_for_update() if lock else query)
    return {(row.budget, row.scope, row.period): Balance(row.spent, row.reserved) for row in rows}


def _lock(connection: Connection, keys: Iterable[LineKey]) -> dict[LineKey, Balance]:
    """The newest balances, nobody else's to change until the transaction ends."""
    return _find(connection, keys, lock=True)


def _settle(connection: Connection, balances: dict[LineKey, Balance], settling: dict[str, Decimal]) -> None:
    """What was reserved becomes what was spent. A settlement that is tried again, since nobody knows whether the first
    try was committed before the connection broke, finds no reservation and changes nothing."""
    gone = budget_reservations.delete().where(_reservations.id.in_(list(settling))).returning(budget_reservations)
    for row in connection.execute(gone):
        key = (row.budget, row.scope, row.period)
        if key in balances:
            held = ZERO_USD if row.released else row.amount
            balances[key] = balances[key].settle(held, settling[row.id])


def _values(key: LineKey, balance: Balance) -> dict[str, Any]:
    line = {f"of_{name}": value for name, value in zip(_LINE, key, strict=True)}
    return line | {"new_spent": balance.spent, "held": balance.reserved}
