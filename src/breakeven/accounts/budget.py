"""Budgets: what covers a call, which period it falls in, and the arithmetic of reserving and settling. Pure.

Money is reserved before an attempt, at the most that it can cost, and settled afterwards at what it did cost. At any
moment what is spent plus what is reserved stays within the budget, so calls that run at once cannot overspend it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from breakeven.config import BudgetSettings, KeySettings
from breakeven.config.accounts import BUDGET_AMOUNT
from breakeven.errors import BudgetExhausted, InputError
from breakeven.ledger.records import Locality
from breakeven.ledger.rollup import exact
from breakeven.units import ZERO_USD, usd

LineKey: TypeAlias = tuple[str, str, str]
"""A budget's name, its scope and the name of a window: what a balance is kept under."""
Period: TypeAlias = Literal["day", "month", "total"]
SECONDS_PER_DAY = 86_400
RETRY_SECONDS = 1
"""When to come back if only calls in flight stand in the way."""


class Spender(NamedTuple):
    """Who is about to spend, on what, and with whom.

    Attributes:
        key / task / agent: labels of the call; ``None`` when it has none.
        provider / model: of the attempt; the model by the name its provider knows it by.
        locality: whether the attempt stays on machines of one's own.
    """

    key: str | None
    task: str | None
    agent: str | None
    provider: str
    model: str
    locality: Locality = "remote"


@dataclass(frozen=True, slots=True)
class Budget:
    """Money for the attempts that it covers; fields as in ``BudgetSettings``.

    Attributes:
        scope: what it covers, as text: money spent under another scope is none of this budget's.

    >>> Budget("b", Decimal(1), key="desk", task="tag").scope
    'billed key=desk task=tag'
    """

    name: str
    usd: Decimal
    per: Period = "day"
    key: str | None = None
    task: str | None = None
    agent: str | None = None
    provider: str | None = None
    model: str | None = None
    on_exhausted: Literal["refuse", "local"] = "refuse"
    counts: Literal["billed", "all"] = "billed"
    unknown_cost: Literal["refuse", "allow"] = "refuse"
    scope: str = field(init=False)

    def __post_init__(self) -> None:
        names = ("key", "task", "agent", "provider", "model")
        named = (f"{name}={value}" for name in names if (value := getattr(self, name)) is not None)
        object.__setattr__(self, "scope", " ".join([self.counts, *named]))

    def covers(self, spender: Spender) -> bool:
        """Whether an attempt is paid from this budget."""
        return (
            (self.key is None or self.key == spender.key)
            and (self.task is None or self.task == spender.task)
            and (self.agent is None or self.agent == spender.agent)
            and (self.provider is None or self.provider == spender.provider)
            and (self.model is None or self.model == spender.model)
            and (self.counts == "all" or spender.locality == "remote")
        )


class Window(NamedTuple):
    """One day, month or all of time, in UTC.

    Attributes:
        name: ``2026-11-24``, ``2026-11`` or ``total``.
        start / end: Unix seconds; ``end`` is ``None`` for all of time.
    """

    name: str
    start: float
    end: float | None


ALL_TIME = Window("total", 0.0, None)


def window_at(per: Period, moment: float) -> Window:
    """The window that a Unix time falls in.

    >>> window_at("day", 1795478400.5)
    Window(name='2026-11-24', start=1795478400.0, end=1795564800.0)
    >>> window_at("month", 1795478400.5).name
    '2026-11'
    """
    return ALL_TIME if per == "total" else _window(per, int(moment // SECONDS_PER_DAY))


@lru_cache(maxsize=64)
def _window(per: Period, day: int) -> Window:
    start = datetime.fromtimestamp(day * SECONDS_PER_DAY, UTC)
    if per == "day":
        return Window(start.date().isoformat(), start.timestamp(), start.timestamp() + SECONDS_PER_DAY)
    first = start.replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Window(f"{first:%Y-%m}", first.timestamp(), following.timestamp())


class Balance(msgspec.Struct, frozen=True):
    """What a budget's window has seen, in USD.

    Attributes:
        spent: settled.
        reserved: held for attempts in flight.
    """

    spent: Decimal = ZERO_USD
    reserved: Decimal = ZERO_USD

    def left(self, limit: Decimal) -> Decimal:
        """What can still be reserved; negative when a settlement went beyond its reservation."""
        return exact.subtract(limit, exact.add(self.spent, self.reserved))

    def reserve(self, amount: Decimal, limit: Decimal) -> Balance | None:
        """Hold ``amount``; ``None`` when that does not fit. What costs nothing always fits."""
        reserved = exact.add(self.reserved, amount)
        if amount and exact.add(self.spent, reserved) > limit:
            return None
        return Balance(self.spent, reserved)

    def settle(self, amount: Decimal, actual: Decimal) -> Balance:
        """Turn a reservation of ``amount`` into ``actual`` spent, even should that be more: books tell the truth."""
        return Balance(exact.add(self.spent, actual), exact.subtract(self.reserved, amount))


@dataclass(frozen=True, slots=True)
class Line:
    """A budget in one of its windows: what a reservation holds money in.

    Attributes:
        key: names its balance, in memory and in the database.
    """

    budget: Budget
    window: Window
    key: LineKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.budget.name, self.budget.scope, self.window.name))


class Reservation(msgspec.Struct, frozen=True):
    """Money held for one attempt.

    Attributes:
        id: unique over all processes; empty when no budget covers the attempt.
        amount: what is held, in each line.
        lines: in the fixed order in which balances are locked.
    """

    id: str
    amount: Decimal
    lines: tuple[Line, ...]


UNBUDGETED = Reservation("", ZERO_USD, ())


def lines_for(budgets: Iterable[Budget], spender: Spender, at: float) -> tuple[Line, ...]:
    """The lines that pay for an attempt of a call received at ``at``, in locking order."""
    return tuple(Line(budget, window_at(budget.per, at)) for budget in budgets if budget.covers(spender))


def in_locking_order(budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """Budgets in the one order in which all processes lock their balances."""
    return tuple(sorted(budgets, key=lambda budget: (budget.name, budget.scope)))


def reserve_all(lines: Sequence[Line], balances: Sequence[Balance], amount: Decimal, now: float) -> tuple[Balance, ...]:
    """Hold ``amount`` in every line, or in none.

    Raises:
        BudgetExhausted: naming the first line that it does not fit.
    """
    after = []
    for line, balance in zip(lines, balances, strict=True):
        held = balance.reserve(amount, line.budget.usd)
        if held is None:
            raise exhausted(line, balance, amount, now)
        after.append(held)
    return tuple(after)


def exhausted(line: Line, balance: Balance, amount: Decimal, now: float) -> BudgetExhausted:
    """The error for a line that ``amount`` does not fit.

    Its status is 402 when the money is spent, until the window ends, and 429 when calls in flight hold it and may
    yet return some.
    """
    budget, window = line.budget, line.window
    of = {"day": f"for {window.name} (UTC)", "month": f"for {window.name} (UTC)", "total": "in all"}[budget.per]
    figures = f"of {usd(budget.usd)} {of}, {usd(balance.spent)} is spent and {usd(balance.reserved)} reserved"
    in_the_way = f"{figures}; this call may cost up to {usd(amount)}" if amount else figures
    held = bool(balance.reserved) and exact.add(balance.spent, amount) <= budget.usd
    retry = RETRY_SECONDS if held else None if window.end is None else max(1, math.ceil(window.end - now))
    error = BudgetExhausted(
        f"budget {budget.name!r} {'is held by calls in flight' if held else 'is exhausted'}: {in_the_way}",
        remedy="Try again in a moment." if held else "Lower max_tokens, wait for the next period, or raise the budget.",
        budget=budget.name,
        on_exhausted=budget.on_exhausted,
        retry_after_seconds=retry,
    )
    if held:
        error.status = 429
    return error


def parse_amount(text: str) -> tuple[Decimal, Period]:
    """The dollars and the period of a budget in one word.

    Raises:
        InputError: it is not like ``$5/day``.

    >>> parse_amount("$2.50/month")
    (Decimal('2.50'), 'month')
    """
    if not re.fullmatch(BUDGET_AMOUNT, text, re.ASCII):
        raise InputError(f"budget {text!r}: expected dollars and a period, like $5/day, $20/month or $100/total")
    amount, _, per = text.removeprefix("$").partition("/")
    return Decimal(amount), cast("Period", per)


def key_budget(key: str, text: str) -> Budget:
    """The budget that a key brings along."""
    amount, per = parse_amount(text)
    return Budget(f"keys.{key}", amount, per, key=key)


def configured_budgets(budgets: Mapping[str, BudgetSettings], keys: Mapping[str, KeySettings]) -> tuple[Budget, ...]:
    """The budgets of a configuration, those of its keys included."""
    named = [Budget(name=name, **budget.model_dump()) for name, budget in budgets.items()]
    own = [key_budget(name, key.budget) for name, key in keys.items() if key.budget is not None]
    return in_locking_order([*named, *own])
