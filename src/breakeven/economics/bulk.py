"""Many calls priced at once, to the last digit as one by one.

Within one tier a price is linear in the tokens, so the sums of the calls in a tier may be priced with the rates of that
tier. Sums across tiers never are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from breakeven.economics.rates import Rate, Rates, price_range
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.units import ZERO_USD, Usd

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

MOST_TOKENS = 10**15
"""Of one class in one call; what is beyond it is no count of tokens, and sums of it would leave 64 bits."""
NOBODY_SAID = -1
CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


@dataclass(frozen=True, slots=True, eq=False)
class TokenColumns:
    """The tokens of many calls; arrays of one length, each class as ``TokenCounts`` has it.

    Attributes:
        reasoning: part of ``output``; -1 where nobody said.
        cache_known: false where ``uncached_input`` includes what may have been cached.
    """

    uncached_input: IntArray
    cache_read: IntArray
    cache_write_5m: IntArray
    cache_write_1h: IntArray
    output: IntArray
    reasoning: IntArray
    cache_known: BoolArray

    def __post_init__(self) -> None:
        if len({len(getattr(self, field.name)) for field in fields(self)}) != 1:
            raise InputError("columns of tokens differ in length")
        for name in CLASSES:
            column, least = getattr(self, name), NOBODY_SAID if name == "reasoning" else 0
            if len(column) and not least <= column.min() <= column.max() <= MOST_TOKENS:
                raise InputError(f"{name} = {int(column.max())}: expected {least} to {MOST_TOKENS:,} tokens a call")

    def __len__(self) -> int:
        return len(self.output)

    @classmethod
    def of(cls, calls: Iterable[TokenCounts]) -> TokenColumns:
        """The columns of calls."""
        rows = list(calls)
        columns = {
            name: np.array([getattr(row, name) for row in rows], dtype=np.int64)
            for name in CLASSES
            if name != "reasoning"
        }
        reasoning = [NOBODY_SAID if row.reasoning is None else row.reasoning for row in rows]
        return cls(
            **columns,
            reasoning=np.array(reasoning, dtype=np.int64),
            cache_known=np.array([row.cache_known for row in rows], dtype=np.bool_),
        )

    @classmethod
    def joined(cls, parts: Iterable[TokenColumns]) -> TokenColumns:
        """Several, one after the other."""
        rows = list(parts)
        if not rows:
            return cls.of(())
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in rows]) for field in fields(cls)}
        )

    def where(self, chosen: BoolArray | IntArray) -> TokenColumns:
        """Some of the calls, by mask or by position."""
        return TokenColumns(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def prompt(self) -> IntArray:
        """All prompt tokens of each call: the counts that select the tiers."""
        return self.uncached_input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def total(self, name: str) -> int:
        """The sum of a class, exact; of reasoning, as far as it is known."""
        column = getattr(self, name)
        known = column[column > 0]
        if len(known) and int(known.max()) * len(known) >= 2**63:
            return sum(known.tolist())
        return int(known.sum())

    @property
    def tokens(self) -> int:
        """All tokens, prompts and outputs."""
        return sum(self.total(name) for name in CLASSES if name != "reasoning")

    def counts(self) -> Iterator[TokenCounts]:
        """Each call."""
        classes = zip(*(getattr(self, name).tolist() for name in CLASSES), strict=True)
        for row, cache_known in zip(classes, self.cache_known.tolist(), strict=True):
            named = dict(zip(CLASSES, row, strict=True))
            reasoning = None if named["reasoning"] == NOBODY_SAID else named["reasoning"]
            yield TokenCounts(**named | {"reasoning": reasoning}, cache_known=cache_known)


@dataclass(frozen=True, slots=True, eq=False)
class BulkPrice:
    """What many calls cost.

    Attributes:
        exact: which of the calls have one price.
        usd: their sum.
        ranged_calls: calls of which only a range is known: nobody said what was cached, or reasoned.
        least / most: bounds of the sum over those with a price or a range.
        unknown_calls: calls that the rates cannot price at all.
    """

    exact: BoolArray
    usd: Usd
    ranged_calls: int
    least: Usd
    most: Usd
    unknown_calls: int

    @property
    def priced_calls(self) -> int:
        """Calls with one price."""
        return int(self.exact.sum())


def price_columns(columns: TokenColumns, rates: Rates) -> BulkPrice:
    """Price each call in its own tier and add up.

    >>> from decimal import Decimal
    >>> tiered = Rates(input=Rate(Decimal("0.1"), ((100_000, Decimal("0.5")),)), output=Rate(Decimal("0.5")))
    >>> one = TokenCounts(uncached_input=1000, output=100)
    >>> price_columns(TokenColumns.of([one] * 1000), tiered).usd
    Decimal('0.15')
    """
    unpriceable = _unpriceable(columns, rates)
    cache_matters = (columns.uncached_input > 0) & ~columns.cache_known & rates.tell_cached_input_apart
    reasoning_matters = (columns.output > 0) & (columns.reasoning == NOBODY_SAID) & (rates.reasoning is not None)
    # An open call may be one that the rates cannot price in one of the ways it can have gone.
    open_calls = (cache_matters | reasoning_matters) & ~unpriceable
    exact = ~(unpriceable | cache_matters | reasoning_matters)
    usd = least = most = ZERO_USD
    unknown = int(unpriceable.sum())
    ranged = 0
    tiers = np.searchsorted(_thresholds(rates), columns.prompt, side="left")
    for tier in np.unique(tiers).tolist():
        in_tier = tiers == tier
        flat = _flat(rates, tier)
        usd += _sum_of(columns, in_tier & exact, flat)
        for cache in (False, True):
            for reasoning in (False, True):
                group = in_tier & open_calls & (cache_matters == cache) & (reasoning_matters == reasoning)
                calls = int(group.sum())
                if not calls:
                    continue
                between = price_range(_summed(columns, group, cache, reasoning), flat, calls=calls)
                if between is None:
                    unknown += calls
                    continue
                ranged += calls
                least += between.least
                most += between.most
    return BulkPrice(exact, usd, ranged, usd + least, usd + most, unknown)


def _sum_of(columns: TokenColumns, group: BoolArray, flat: Rates) -> Usd:
    calls = int(group.sum())
    if not calls:
        return ZERO_USD
    between = price_range(_summed(columns, group, cache_open=False, reasoning_open=False), flat, calls=calls)
    return ZERO_USD if between is None else between.least


def _summed(columns: TokenColumns, group: BoolArray, cache_open: bool, reasoning_open: bool) -> TokenCounts:
    chosen = columns.where(group)
    reasoning = None if reasoning_open else chosen.total("reasoning")
    sums = {name: chosen.total(name) for name in CLASSES if name != "reasoning"}
    return TokenCounts(**sums, reasoning=reasoning, cache_known=not cache_open)


def _unpriceable(columns: TokenColumns, rates: Rates) -> BoolArray:
    """Calls with tokens of a class that has no rate, falling back as ``price_call`` does."""
    write_5m = rates.cache_write_5m or rates.input
    rated = {
        "uncached_input": rates.input,
        "cache_read": rates.cache_read or rates.input,
        "cache_write_5m": write_5m,
        "cache_write_1h": rates.cache_write_1h or write_5m,
    }
    missing = np.zeros(len(columns), dtype=np.bool_)
    for name, rate in rated.items():
        if rate is None:
            missing |= getattr(columns, name) > 0
    if rates.output is None:
        apart = np.maximum(columns.reasoning, 0) if rates.reasoning is not None else np.int64(0)
        missing |= columns.output > apart
    return missing


def _thresholds(rates: Rates) -> IntArray:
    return np.array(sorted({start for rate in _all(rates) for start, _ in rate.tiers}), dtype=np.int64)


def _all(rates: Rates) -> list[Rate]:
    every = (
        rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.reasoning,
    )  # fmt: skip
    return [rate for rate in every if rate is not None]


def _flat(rates: Rates, tier: int) -> Rates:
    """The rates that hold in the tier above so many thresholds, without tiers."""
    starts = _thresholds(rates).tolist()
    prompt = starts[tier - 1] + 1 if tier else 0

    def flat(rate: Rate | None) -> Rate | None:
        return None if rate is None else Rate(rate.at(prompt))

    return Rates(
        input=flat(rates.input),
        output=flat(rates.output),
        cache_read=flat(rates.cache_read),
        cache_write_5m=flat(rates.cache_write_5m),
        cache_write_1h=flat(rates.cache_write_1h),
        reasoning=flat(rates.reasoning),
        per_call=rates.per_call,
    )
