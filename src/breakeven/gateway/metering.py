"""From what was seen of an attempt to what the ledger keeps: counts, watt-hours and money on both sides."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from breakeven.catalog.prices import PriceBook, PriceRow
from breakeven.economics.local import BoxCost, LocalCost, local_cost
from breakeven.economics.tokens import TokenCounts
from breakeven.gateway import token_ratios
from breakeven.ledger.pricing import priced, provenance
from breakeven.ledger.records import (
    Attempt,
    CountedBy,
    Durations,
    Money,
    Outcome,
)
from breakeven.providers.base import Provider

CHARACTERS_PER_TOKEN = token_ratios.CHARACTERS_PER_TOKEN
"""Rule of thumb before a call, when all that is known is the length of its text."""


class Energy(Protocol):
    """Finds the watt-hours of an attempt."""

    @property
    def meter(self) -> str:
        """Name of the power meter, ``modelled`` without one."""
        ...

    def marginal_watt_hours(self, box_seconds: float) -> Decimal | None:
        """Energy beyond idle that this much of the box's time took; ``None`` when the box is unknown."""
        ...


class Observation(msgspec.Struct):
    """What the gateway saw of one attempt.

    Attributes:
        unpriced_tools: the provider ran tools of its own (a web search), which it bills beside the tokens at rates that
            the price book does not have: the bill is unknown.
        tier: what the provider bills by where that is not its standard tier, for instance ``priority``.
        provider_key: the name of the key that it was asked with.
    """

    provider: Provider
    model_asked: str
    reason: str
    started_at: float
    durations: Durations
    outcome: Outcome
    tokens: TokenCounts | None = None
    counted_by: CountedBy = "nobody"
    model_served: str | None = None
    box_seconds: float | None = None
    unpriced_tools: bool = False
    tier: str | None = None
    error: str | None = None
    provider_key: str | None = None


class Metering:
    """Prices observations.

    Attributes:
        ratios: what was learned of the models' tokens.

    Args:
        book: model prices with their provenance.
        reference: provider and model of the price book that local calls are compared with.
        box: the machine's cost; ``None`` leaves local cost unknown.
        energy: the source of watt-hours.
    """

    def __init__(self, book: PriceBook, reference: tuple[str, str], box: BoxCost | None, energy: Energy) -> None:
        self.ratios = token_ratios.TokenRatios()
        self._book = book
        self._reference = reference
        self._box = box
        self._energy = energy
        self._rows: dict[tuple[str, str], tuple[int, PriceRow | None]] = {}

    def price(self, provider: Provider, model: str, at: float, tier: str | None = None) -> PriceRow | None:
        """What a provider charges for a model at a Unix time; ``None`` when that is not known.

        Args:
            tier: other than the standard one; its rates are the provider's own under ``CATALOG-TIER``, if anybody's.
        """
        if provider.catalog is None:
            return None
        return self._row(provider.catalog if tier is None else f"{provider.catalog}-{tier}", model, at)

    def _row(self, catalog: str, model: str, at: float) -> PriceRow | None:
        """The row that holds at a time; prices change on whole seconds, so it holds for what is left of the second."""
        second = int(at)
        known = self._rows.get((catalog, model))
        if known is not None and known[0] == second:
            return known[1]
        row = self._book.find(catalog, model, at=datetime.fromtimestamp(second, UTC))
        self._rows[catalog, model] = second, row
        return row

    def attempt(self, seen: Observation, number: int = 1) -> Attempt:
        """The record of one attempt, priced at the prices that hold now."""
        local = seen.provider.locality == "local"
        reference = self._row(*self._reference, seen.started_at)
        own: PriceRow | None = None
        if not local:
            own = self.price(seen.provider, seen.model_served or seen.model_asked, seen.started_at, seen.tier)
            own = own or self.price(seen.provider, seen.model_asked, seen.started_at, seen.tier)
        watt_hours, cost = self._box_cost(seen.box_seconds)
        return Attempt(
            number=number,
            provider=seen.provider.name,
            locality=seen.provider.locality,
            model_asked=seen.model_asked,
            model_served=seen.model_served,
            started_at=seen.started_at,
            durations=seen.durations,
            outcome=seen.outcome,
            counted_by=seen.counted_by,
            reason=seen.reason,
            tokens=seen.tokens,
            box_seconds=seen.box_seconds,
            watt_hours=None if watt_hours is None else float(watt_hours),
            power_meter=None if watt_hours is None else self._energy.meter,
            money=Money(
                billed=Decimal(0) if local else None if seen.unpriced_tools else priced(seen.tokens, own),
                marginal_energy=cost.marginal_energy if cost is not None else None,
                idle_share=cost.idle_share if cost is not None else None,
                amortisation_share=cost.amortisation_share if cost is not None else None,
                counterfactual=priced(seen.tokens, reference),
            ),
            price=provenance(own),
            reference_model="/".join(self._reference),
            reference_price=provenance(reference),
            error=seen.error,
            provider_key=seen.provider_key,
        )

    def _box_cost(self, box_seconds: float | None) -> tuple[Decimal | None, LocalCost | None]:
        if box_seconds is None:
            return None, None
        watt_hours = self._energy.marginal_watt_hours(box_seconds)
        if self._box is None or watt_hours is None:
            return watt_hours, None
        return watt_hours, local_cost(self._box, exact_seconds(box_seconds), watt_hours)


def exact_seconds(seconds: float) -> Decimal:
    """A measured duration as a Decimal of whole microseconds, the clock's own resolution."""
    return Decimal(round(seconds * 1_000_000)).scaleb(-6)
