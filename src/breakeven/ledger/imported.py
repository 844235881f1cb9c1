"""A month of imported usage, each source by itself. Pure.

Sources may tell of the same calls: an agent's own log, the proxy in front of it and the provider's report do. So
nothing is added up across them, and nothing is mixed with the cost of the box, which served none of it or cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from breakeven.economics.rates import PriceRange
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.provenance import Note, figure_notes
from breakeven.ledger.records import PriceProvenance, UsageBucket
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, exact
from breakeven.ledger.schema import TOKEN_CLASSES, utc

INPUT_CLASSES = TOKEN_CLASSES[:4]


class Amount(msgspec.Struct, frozen=True):
    """US dollars of which some may be known only as ranges, and some not at all.

    Attributes:
        least: what is known, and the lower ends of the ranges.
        most: what is known, and the upper ends; ``None`` when some are not known at all.
        unknown: how many calls (or buckets, where there are no calls) are not known at all.
    """

    least: Decimal
    most: Decimal | None
    unknown: int


class Usage(msgspec.Struct, frozen=True):
    """What was used and what it cost.

    Attributes:
        calls: how many; ``None`` where a source gives sums and does not say of how many.
        input / output: tokens; input with what came from and went to a cache.
        cache_read: the part of the input that came from a cache; a lower bound where ``cache_unknown``.
        cache_unknown: of how many calls (or buckets) nobody said how much was cached.
        tokens_unknown: of how many calls nobody counted the tokens.
        billed: what was or will be invoiced.
        counterfactual: what the reference model would have charged; of subscriptions, what the API would have charged
            for the same model.
    """

    calls: int | None
    input: int
    output: int
    cache_read: int
    cache_unknown: int
    tokens_unknown: int
    billed: Amount
    counterfactual: Amount


class ModelUsage(msgspec.Struct, frozen=True):
    """One model's part."""

    provider: str
    model: str
    usage: Usage


class ImportedUsage(msgspec.Struct, frozen=True):
    """One source's month; ``first_day`` and ``last_day`` are in UTC."""

    origin: str
    first_day: date
    last_day: date
    usage: Usage
    models: list[ModelUsage]
    notes: list[Note]


def summarise(
    totals: Sequence[DailyTotal],
    provenance: Mapping[str, Sequence[ProvenanceCount]],
    buckets: Iterable[UsageBucket],
) -> list[ImportedUsage]:
    """The month of each source, in order of their names.

    Args:
        totals: daily totals of imported calls.
        provenance: of each origin, where its figures came from.
        buckets: imported buckets of the month.
    """
    origins: dict[str, _Gathered] = {}
    for total in totals:
        origins.setdefault(total.origin, _Gathered()).add_total(total)
    for bucket in buckets:
        origins.setdefault(bucket.origin, _Gathered()).add_bucket(bucket)
    return [
        gathered.usage_of(origin, [*provenance.get(origin, ()), *gathered.provenance()])
        for origin, gathered in sorted(origins.items())
    ]


class _Tally:
    """Adds up usage."""

    def __init__(self) -> None:
        self.calls: int | None = 0
        self.counts = dict.fromkeys((*INPUT_CLASSES, "output", "cache_unknown", "tokens_unknown"), 0)
        self.billed, self.counterfactual = _Range(), _Range()

    def add_total(self, total: DailyTotal) -> None:
        if self.calls is not None:
            self.calls += total.counts["calls"]
        for name in self.counts:
            self.counts[name] += total.counts[name]
        for part, into in (("billed", self.billed), ("counterfactual", self.counterfactual)):
            known, least, most = (total.sums[f"{part}{end}_usd"] for end in ("", "_least", "_most"))
            into.add(exact.add(known, least), exact.add(known, most))
            into.unknown += total.counts[f"{part}_usd_unknown"] - total.counts[f"{part}_usd_ranged"]

    def add_bucket(self, bucket: UsageBucket) -> None:
        if self.calls is not None:
            self.calls = None if bucket.requests is None else self.calls + bucket.requests
        tokens = bucket.tokens or TokenCounts()
        for name in (*INPUT_CLASSES, "output"):
            self.counts[name] += getattr(tokens, name)
        self.counts["cache_unknown"] += not tokens.cache_known
        money = bucket.money
        self.billed.add_amount(money.billed, money.billed_range)
        if bucket.tokens is not None:
            self.counterfactual.add_amount(money.counterfactual, money.counterfactual_range)

    def usage(self) -> Usage:
        return Usage(
            calls=self.calls,
            input=sum(self.counts[name] for name in INPUT_CLASSES),
            output=self.counts["output"],
            cache_read=self.counts["cache_read"],
            cache_unknown=self.counts["cache_unknown"],
            tokens_unknown=self.counts["tokens_unknown"],
            billed=self.billed.amount(),
            counterfactual=self.counterfactual.amount(),
        )


class _Range:
    def __init__(self) -> None:
        self.least = self.most = Decimal(0)
        self.unknown = 0

    def add(self, least: Decimal, most: Decimal) -> None:
        self.least, self.most = exact.add(self.least, least), exact.add(self.most, most)

    def add_amount(self, known: Decimal | None, between: PriceRange | None) -> None:
        if known is not None:
            self.add(known, known)
        elif between is not None:
            self.add(between.least, between.most)
        else:
            self.unknown += 1

    def amount(self) -> Amount:
        return Amount(self.least, None if self.unknown else self.most, self.unknown)


class _Gathered:
    """What is known of one origin."""

    def __init__(self) -> None:
        self._all = _Tally()
        self._models: dict[tuple[str, str], _Tally] = {}
        self._days: list[date] = []
        self._prices: dict[tuple[str, str, PriceProvenance], int] = {}

    def add_total(self, total: DailyTotal) -> None:
        self._each(total.provider, total.model, lambda tally: tally.add_total(total))
        self._days = [min([total.day, *self._days]), max([total.day, *self._days])]

    def add_bucket(self, bucket: UsageBucket) -> None:
        self._each(bucket.provider, bucket.model, lambda tally: tally.add_bucket(bucket))
        first, last = utc(bucket.start).date(), utc(bucket.end - 1).date()
        self._days = [min([first, *self._days]), max([last, *self._days])]
        subject = bucket.model or "all models"
        for figure, named, price in (
            ("billed", subject, bucket.price),
            ("counterfactual", bucket.reference_model or "", bucket.reference_price),
        ):
            if price is not None:
                self._prices[figure, named, price] = self._prices.get((figure, named, price), 0) + 1

    def provenance(self) -> list[ProvenanceCount]:
        return [
            ProvenanceCount(figure, subject, price.source, price.effective or "", price.snapshot, count)
            for (figure, subject, price), count in self._prices.items()
        ]

    def usage_of(self, origin: str, provenance: Sequence[ProvenanceCount]) -> ImportedUsage:
        models = [ModelUsage(provider, model, tally.usage()) for (provider, model), tally in self._models.items()]
        models.sort(key=lambda row: (-(row.usage.input + row.usage.output), row.provider, row.model))
        return ImportedUsage(origin, self._days[0], self._days[1], self._all.usage(), models, figure_notes(provenance))

    def _each(self, provider: str, model: str, add: Callable[[_Tally], None]) -> None:
        add(self._all)
        add(self._models.setdefault((provider, model), _Tally()))
