"""What the books say was spent: where balances start from."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from breakeven.accounts.budget import ALL_TIME, SECONDS_PER_DAY, Line, Reservation
from breakeven.accounts.tables import budget_reservations
from breakeven.accounts.transactions import reporting_outages, writing
from breakeven.errors import LedgerUnavailable
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.rollup import exact
from breakeven.ledger.schema import attempts, calls
from breakeven.units import ZERO_USD

log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
BACKLOG_BYTES = 1024**2
"""More than this in the journal is a backlog, not the calls of the last moment."""
KEPT_SECONDS = 62 * SECONDS_PER_DAY
"""Longer than any window, save that of all time."""
PRESUMED = "presumed"
"""Stands for the process in reservations that are kept because the cost was never learned."""


def spent_in_books(connection: Connection, line: Line) -> Decimal:
    """USD of the calls received in a line's window, exact, plus what is presumed of attempts of unknown cost."""
    budget = line.budget
    parts = [attempts.c.billed_usd]
    if budget.counts == "all":
        parts += [attempts.c.marginal_energy_usd, attempts.c.idle_share_usd, attempts.c.amortisation_share_usd]
    total = ZERO_USD
    for part in parts:
        query = sa.select(part, sa.func.count()).select_from(attempts.join(calls)).where(*_covered(line)).group_by(part)
        for amount, times in connection.execute(query):
            if amount is not None:
                total = exact.add(total, exact.multiply(amount, Decimal(times)))
    key = (budget_reservations.c.budget, budget_reservations.c.scope, budget_reservations.c.period)
    presumed = sa.select(budget_reservations.c.amount).where(
        sa.tuple_(*key) == line.key, budget_reservations.c.process == PRESUMED
    )
    for amount in connection.execute(presumed).scalars():
        total = exact.add(total, amount)
    return total


def _covered(line: Line) -> Iterable[sa.ColumnElement[bool]]:
    budget, window = line.budget, line.window
    yield calls.c.origin == "gateway"
    yield calls.c.received_at >= window.start
    if window.end is not None:
        yield calls.c.received_at < window.end
    if budget.counts == "billed":
        yield attempts.c.locality == "remote"
    for wanted, column in (
        (budget.key, calls.c.key),
        (budget.task, calls.c.task),
        (budget.agent, calls.c.agent),
        (budget.provider, attempts.c.provider),
        (budget.model, attempts.c.model_asked),
    ):
        if wanted is not None:
            yield column == wanted


def flush(ledger: Ledger) -> None:
    """Bring what is in the journal into the database. While calls keep coming the newest may stay behind.

    Raises:
        LedgerUnavailable: the database does not take it, or has far from caught up.
    """
    if ledger.flush(FLUSH_SECONDS):
        return
    status = ledger.status()
    if status.database_error is not None or status.journal_bytes_pending > BACKLOG_BYTES:
        why = status.database_error or f"{status.journal_bytes_pending} bytes of journal are still on their way"
        raise LedgerUnavailable(f"what was spent before cannot be known yet: {why}")


class Books:
    """The history that a ledger and its database tell."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger

    async def spent(self, line: Line) -> Decimal:
        """USD spent in a line, calls that are still in the journal included.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        return await asyncio.to_thread(self._spent, line)

    def _spent(self, line: Line) -> Decimal:
        flush(self._ledger)
        with reporting_outages(), self._engine.connect() as connection:
            return spent_in_books(connection, line)

    async def presume(self, reservation: Reservation) -> None:
        """Keep what an attempt of unknown cost is taken to have cost; a database in trouble is logged."""
        try:
            await asyncio.to_thread(self._presume, reservation)
        except LedgerUnavailable as error:
            log.error(
                "%s; after a restart the budget forgets %s USD of unknown cost", error.message, reservation.amount
            )

    def _presume(self, reservation: Reservation) -> None:
        rows = [
            dict(zip(("budget", "scope", "period"), line.key, strict=True))
            | {"id": uuid.uuid4().hex, "process": PRESUMED, "amount": reservation.amount}
            | {"reserved_at": time.time(), "released": False}
            for line in reservation.lines
        ]
        forgotten = budget_reservations.c.reserved_at < time.time() - KEPT_SECONDS
        with reporting_outages(), writing(self._engine) as connection:
            connection.execute(
                budget_reservations.delete().where(forgotten, budget_reservations.c.period != ALL_TIME.name)
            )
            connection.execute(budget_reservations.insert(), rows)
