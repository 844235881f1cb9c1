"""Past calls at other prices or models, call by call; what was recorded stays as it is. Sums are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import localcontext
from itertools import compress
from typing import Protocol

import numpy as np

from breakeven.catalog.prices import PriceRow
from breakeven.economics.bulk import BoolArray, IntArray, price_columns
from breakeven.economics.queueing import FloatArray
from breakeven.economics.rates import PriceRange, price_range
from breakeven.ledger.records import Money, UsageBucket
from breakeven.ledger.rollup import exact
from breakeven.ledger.usage import Served, UsagePart
from breakeven.units import ZERO_USD, Usd


class DatedPrices(Protocol):
    """What repricing needs of the price book."""

    def find(self, provider: str, model: str, *, at: datetime, batch: bool = False) -> PriceRow | None:
        """The row for a model at a provider, ``None`` when its price is not known."""
        ...

    def changes_between(self, provider: str, model: str, since: datetime, until: datetime) -> list[datetime]:
        """When the row may become another."""
        ...


@dataclass(frozen=True, slots=True)
class Period:
    """``since <= t < until``, both aware."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """A model to price with; without names, the one that served the call."""

    provider: str | None = None
    model: str | None = None

    @property
    def name(self) -> str:
        """``provider/model``."""
        return "the model that served" if self.provider is None else f"{self.provider}/{self.model}"

    def of(self, served: Served, catalog: Mapping[str, str]) -> tuple[str, str]:
        """Provider and model in the price book; ``catalog`` has the providers that are called otherwise there."""
        if self.provider is not None and self.model is not None:
            return self.provider, self.model
        return catalog.get(served.provider, served.provider), served.model


@dataclass(slots=True)
class Repriced:
    """Some calls at one target's prices.

    Attributes:
        usd: of the calls with one price.
        ranged_calls: calls with a range only, since nobody said what was cached or reasoned.
        least / most: bounds of the sum over those with a price or a range.
        unknown_calls: calls without a price: nobody counted their tokens, or the target's price is unknown.
        difference: Σ (repriced − billed) over ``compared_calls``, those with one price and a known bill.
        price_sources: source and date of the rows used, and how many calls each.
    """

    target: str
    usd: Usd = ZERO_USD
    priced_calls: int = 0
    ranged_calls: int = 0
    least: Usd = ZERO_USD
    most: Usd = ZERO_USD
    unknown_calls: int = 0
    difference: Usd = ZERO_USD
    compared_calls: int = 0
    price_sources: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def add(self, other: Repriced) -> None:
        """Add other calls at the same target."""
        self.usd += other.usd
        self.priced_calls += other.priced_calls
        self.ranged_calls += other.ranged_calls
        self.least += other.least
        self.most += other.most
        self.unknown_calls += other.unknown_calls
        self.difference += other.difference
        self.compared_calls += other.compared_calls
        self.price_sources.update(other.price_sources)


@dataclass(slots=True)
class RepricedCalls:
    """The calls that one server answered.

    Attributes:
        calls / tokens / uncounted_calls: how many; tokens of those that somebody counted.
        billed / billed_unknown_calls: as recorded.
        targets: at each target's prices.
    """

    served: Served
    targets: tuple[Repriced, ...]
    calls: int = 0
    tokens: int = 0
    uncounted_calls: int = 0
    billed: Usd = ZERO_USD
    billed_unknown_calls: int = 0


@dataclass(frozen=True, slots=True)
class BucketRange:
    """Aggregates at one target's prices: between ``least`` and ``most``, those without any price left out."""

    target: str
    least: Usd
    most: Usd
    unknown_buckets: int


@dataclass(frozen=True, slots=True)
class RepricedBuckets:
    """Usage of one model that is known as sums only, so that no tier is certain."""

    provider: str
    model: str
    buckets: int
    requests: int | None
    tokens: int
    billed_least: Usd
    billed_most: Usd
    billed_unknown_buckets: int
    targets: tuple[BucketRange, ...]


@dataclass(frozen=True, slots=True)
class Repricing:
    """The whole answer.

    Attributes:
        prices_on: the day whose prices were used; ``None``: those of each call's own time.
        servers: by who answered, the most calls first.
        not_kept_attempts / not_kept_billed: attempts whose answer nobody got, billed besides; they are not repriced.
    """

    period: Period
    prices_on: datetime | None
    servers: tuple[RepricedCalls, ...]
    buckets: tuple[RepricedBuckets, ...]
    not_kept_attempts: int
    not_kept_billed: Usd

    @property
    def totals(self) -> tuple[Repriced, ...]:
        """All calls at each target's prices."""
        with localcontext(exact):
            sums = [Repriced(target.target) for target in self.servers[0].targets] if self.servers else []
            for row in self.servers:
                for total, repriced in zip(sums, row.targets, strict=True):
                    total.add(repriced)
            return tuple(sums)

    @property
    def billed(self) -> Usd:
        """Of all calls, as recorded."""
        with localcontext(exact):
            return sum((row.billed for row in self.servers), ZERO_USD)


def reprice(
    parts: Iterable[UsagePart],
    buckets: Iterable[UsageBucket],
    targets: tuple[Target, ...],
    prices: DatedPrices,
    period: Period,
    *,
    prices_on: datetime | None = None,
    catalog: Mapping[str, str] | None = None,
) -> Repricing:
    """Price each call of a period anew.

    With named targets the answer that the client got is priced, once a call, whoever served it. At the prices of the
    model that served, every remote attempt is priced, kept or not, since each was billed.

    Args:
        parts: what the calls used.
        buckets: usage that is known as sums only.
        targets: what to price with.
        prices: the price book.
        period: which calls these are.
        prices_on: price as on that day instead of at the time of each call.
        catalog: configured name of a provider → its name in the price book.
    """
    names = catalog or {}
    own = all(target.provider is None for target in targets)
    table = _RowTable(prices, period, prices_on)
    rows: dict[Served, RepricedCalls] = {}
    not_kept, not_kept_billed = 0, ZERO_USD
    with localcontext(exact):
        for part in parts:
            if not own:
                aside = ~part.kept
                not_kept += int(aside.sum())
                not_kept_billed += _sum(part.billed, aside)[0]
            for position in np.unique(part.served).tolist():
                served = part.servers[position]
                chosen = part.served == position
                chosen &= part.kept if not own else served.locality == "remote"
                if chosen.any():
                    row = rows.setdefault(served, RepricedCalls(served, tuple(Repriced(t.name) for t in targets)))
                    _add(row, part, chosen, targets, names, table)
        summed = _buckets(buckets, targets, names, table)
    ordered = sorted(rows.values(), key=lambda row: (-row.calls, row.served.provider, row.served.model))
    return Repricing(period, prices_on, tuple(ordered), summed, not_kept, not_kept_billed)


def _add(
    row: RepricedCalls,
    part: UsagePart,
    chosen: BoolArray,
    targets: tuple[Target, ...],
    catalog: Mapping[str, str],
    table: _RowTable,
) -> None:
    billed, unknown = _sum(part.billed, chosen)
    calls = int(chosen.sum())
    row.calls += calls
    row.billed += billed
    row.billed_unknown_calls += unknown
    counted = np.flatnonzero(chosen & part.counted)
    row.uncounted_calls += calls - len(counted)
    row.tokens += part.tokens.where(counted).tokens
    bills = np.array([amount is not None for amount in part.billed], dtype=np.bool_)
    for target, repriced in zip(targets, row.targets, strict=True):
        repriced.unknown_calls += calls - len(counted)
        ranks, price_rows = table.ranks(*target.of(row.served, catalog), part.at[counted])
        for rank, price_row in enumerate(price_rows):
            positions = counted[ranks == rank]
            if not len(positions):
                continue
            if price_row is None:
                repriced.unknown_calls += len(positions)
                continue
            found = price_columns(part.tokens.where(positions), price_row.rates)
            exact_ones = positions[found.exact]
            with_bill = exact_ones[bills[exact_ones]]
            of_them = found.usd
            if len(with_bill) < len(exact_ones):
                of_them = price_columns(part.tokens.where(with_bill), price_row.rates).usd
            mask = np.zeros(len(part), dtype=np.bool_)
            mask[with_bill] = True
            effective = None if price_row.effective is None else price_row.effective.isoformat()
            repriced.add(
                Repriced(
                    target=repriced.target,
                    usd=found.usd,
                    priced_calls=found.priced_calls,
                    ranged_calls=found.ranged_calls,
                    least=found.least,
                    most=found.most,
                    unknown_calls=found.unknown_calls,
                    difference=of_them - _sum(part.billed, mask)[0],
                    compared_calls=len(with_bill),
                    price_sources=Counter({(price_row.source, effective): len(positions)}),
                )
            )


def _sum(amounts: list[Usd | None], chosen: BoolArray) -> tuple[Usd, int]:
    """Σ of the known ones among the chosen, and how many of them are unknown."""
    picked = list(compress(amounts, chosen.tolist()))
    known = [amount for amount in picked if amount is not None]
    return sum(known, ZERO_USD), len(picked) - len(known)


class _RowTable:
    """Which price row holds when, for each model asked about."""

    def __init__(self, prices: DatedPrices, period: Period, prices_on: datetime | None) -> None:
        self._prices, self._period, self._on = prices, period, prices_on
        self._known: dict[tuple[str, str, bool], tuple[list[float], list[PriceRow | None]]] = {}

    def ranks(self, provider: str, model: str, at: FloatArray) -> tuple[IntArray, list[PriceRow | None]]:
        """For each time the position of its row in the list returned."""
        bounds, held = self._held(provider, model, batch=False)
        distinct: list[PriceRow | None] = []
        for row in held:
            if row not in distinct:
                distinct.append(row)
        stretch = np.searchsorted(np.array(bounds), at, side="right")
        return np.array([distinct.index(row) for row in held], dtype=np.int64)[stretch], distinct

    def between(self, provider: str, model: str, start: float, end: float, *, batch: bool) -> list[PriceRow | None]:
        """The rows that hold at some time of ``start <= t < end``."""
        bounds, held = self._held(provider, model, batch=batch)
        first = int(np.searchsorted(np.array(bounds), start, side="right"))
        last = int(np.searchsorted(np.array(bounds), max(start, end), side="left"))
        return held[first : max(first, last) + 1]

    def _held(self, provider: str, model: str, *, batch: bool) -> tuple[list[float], list[PriceRow | None]]:
        key = (provider, model, batch)
        if key not in self._known:
            since, until = self._period.since, self._period.until
            moments = [] if self._on else self._prices.changes_between(provider, model, since, until)
            begins = [self._on or since, *moments]
            held = [self._prices.find(provider, model, at=moment, batch=batch) for moment in begins]
            self._known[key] = [moment.timestamp() for moment in moments], held
        return self._known[key]


def _buckets(
    buckets: Iterable[UsageBucket], targets: tuple[Target, ...], catalog: Mapping[str, str], table: _RowTable
) -> tuple[RepricedBuckets, ...]:
    grouped: dict[tuple[str, str], list[UsageBucket]] = {}
    for bucket in buckets:
        grouped.setdefault((bucket.provider, bucket.model), []).append(bucket)
    found = []
    for (provider, model), group in sorted(grouped.items()):
        served = Served(provider, model, "remote")
        requests = [bucket.requests for bucket in group]
        bills = [billed for bucket in group if (billed := _billed(bucket.money)) is not None]
        found.append(
            RepricedBuckets(
                provider=provider,
                model=model,
                buckets=len(group),
                requests=None if None in requests else sum(count for count in requests if count is not None),
                tokens=sum(bucket.tokens.total for bucket in group if bucket.tokens is not None),
                billed_least=sum((bill.least for bill in bills), ZERO_USD),
                billed_most=sum((bill.most for bill in bills), ZERO_USD),
                billed_unknown_buckets=len(group) - len(bills),
                targets=tuple(_bucket_range(group, target, *target.of(served, catalog), table) for target in targets),
            )
        )
    return tuple(found)


def _billed(money: Money) -> PriceRange | None:
    return money.billed_range if money.billed is None else PriceRange(money.billed, money.billed)


def _bucket_range(group: list[UsageBucket], target: Target, provider: str, model: str, table: _RowTable) -> BucketRange:
    least = most = ZERO_USD
    unknown = 0
    for bucket in group:
        rows = table.between(provider, model, bucket.start, bucket.end, batch=bool(bucket.batch))
        if bucket.batch is None:  # nobody says in which tier they were served: either may have held
            batch_rows = table.between(provider, model, bucket.start, bucket.end, batch=True)
            rows = [*rows, *(row for row in batch_rows if row is not None)]
        if bucket.batch and target.provider is not None and None in rows:  # a model without a batch tier
            rows = table.between(provider, model, bucket.start, bucket.end, batch=False)
        between = _range_of(bucket, rows)
        if between is None:
            unknown += 1
        else:
            least, most = least + between.least, most + between.most
    return BucketRange(target.name, least, most, unknown)


def _range_of(bucket: UsageBucket, rows: list[PriceRow | None]) -> PriceRange | None:
    """What a bucket can have cost: any tier that its sum reaches, at any price that held in its time."""
    if bucket.tokens is None:
        return None
    ranges = []
    for row in rows:
        between = None if row is None else price_range(bucket.tokens, row.rates, calls=bucket.requests)
        if between is None:
            return None
        ranges.append(between)
    return PriceRange(min(between.least for between in ranges), max(between.most for between in ranges))
