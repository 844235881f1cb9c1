"""Where the balances of budgets are kept: the seam, and the store of a gateway that has its books to itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Protocol

from breakeven.accounts.budget import SECONDS_PER_DAY, Balance, Line, LineKey, Reservation, reserve_all
from breakeven.units import ZERO_USD


class BudgetStore(Protocol):
    """Balances, and reservations against them."""

    async def reserve(self, lines: tuple[Line, ...], amount: Decimal) -> Reservation:
        """Hold ``amount`` in every line or in none.

        Raises:
            BudgetExhausted: it does not fit one of them.
            LedgerUnavailable: nobody can tell, since the database does not answer.
        """
        ...

    async def settle(self, reservation: Reservation, actual: Decimal | None) -> None:
        """Turn a reservation into ``actual`` spent; ``None`` counts as all that was held. A second time is no-op."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Give back what was held; nothing to do when it is settled already."""
        ...

    def balance(self, line: Line) -> Balance | None:
        """What is known of a line without asking anyone; ``None`` when nothing is."""
        ...

    async def learn(self, lines: tuple[Line, ...]) -> None:
        """Have these balances at hand, from the books where they are new.

        Raises:
            LedgerUnavailable: the books cannot be read.
        """
        ...

    async def tick(self, present: tuple[Line, ...]) -> None:
        """Upkeep, about once a second, given the lines of all budgets that exist now.

        Raises:
            LedgerUnavailable: it must wait, since the database does not answer.
        """
        ...


class History(Protocol):
    """What was spent before this process, from the books."""

    async def spent(self, line: Line) -> Decimal:
        """USD; raises ``LedgerUnavailable`` when the books cannot be read."""
        ...

    async def presume(self, reservation: Reservation) -> None:
        """Keep that an attempt of unknown cost is taken to have cost all that was held for it."""
        ...


class OwnBudgets:
    """Balances in memory, right because nobody else spends: each starts from the books when it is first asked for.

    To be used from one event loop. Reserving and settling wait for nothing once a balance is known.
    """

    def __init__(self, history: History, clock: Callable[[], float] = time.time) -> None:
        self._history = history
        self._clock = clock
        self._balances: dict[LineKey, Balance] = {}
        self._lines: dict[LineKey, Line] = {}
        self._known_since: dict[tuple[str, str], float] = {}
        self._held: set[str] = set()
        self._ids = count(1)
        self._learning = asyncio.Lock()

    async def reserve(self, lines: tuple[Line, ...], amount: Decimal) -> Reservation:
        """As ``BudgetStore.reserve``."""
        if any(line.key not in self._balances for line in lines):
            await self.learn(lines)
        # Nothing is awaited from here on, so no other call comes between looking and taking.
        after = reserve_all(lines, [self._balances[line.key] for line in lines], amount, self._clock())
        for line, balance in zip(lines, after, strict=True):
            self._balances[line.key] = balance
        reservation = Reservation(str(next(self._ids)), amount, lines)
        self._held.add(reservation.id)
        return reservation

    async def settle(self, reservation: Reservation, actual: Decimal | None) -> None:
        """As ``BudgetStore.settle``."""
        if reservation.id not in self._held:
            return
        self._held.remove(reservation.id)
        cost = reservation.amount if actual is None else actual
        for line in reservation.lines:
            if (balance := self._balances.get(line.key)) is not None:
                self._balances[line.key] = balance.settle(reservation.amount, cost)
        if actual is None and reservation.amount:
            await self._history.presume(reservation)

    async def release(self, reservation: Reservation) -> None:
        """As ``BudgetStore.release``."""
        await self.settle(reservation, ZERO_USD)

    def balance(self, line: Line) -> Balance | None:
        """As ``BudgetStore.balance``."""
        return self._balances.get(line.key)

    async def tick(self, present: tuple[Line, ...]) -> None:
        """Forget budgets that are gone, and windows that ended a day ago; should they return, the books know."""
        yesterday = self._clock() - SECONDS_PER_DAY
        budgets = {line.key[:2] for line in present}
        for key, line in list(self._lines.items()):
            end = line.window.end
            over = end is not None and end < yesterday
            if (over or key[:2] not in budgets) and not self._balances[key].reserved:
                del self._balances[key], self._lines[key]
        for budget in self._known_since.keys() - budgets:
            del self._known_since[budget]

    async def learn(self, lines: tuple[Line, ...]) -> None:
        """As ``BudgetStore.learn``: what was spent in these lines before this process began."""
        async with self._learning:
            for line in lines:
                if line.key not in self._balances:
                    since = self._known_since.setdefault(line.key[:2], self._clock())
                    # All that was spent in a window that began after its budget was known has passed through here.
                    spent = ZERO_USD if line.window.start >= since else await self._history.spent(line)
                    self._balances[line.key] = Balance(spent)
                    self._lines[line.key] = line
