"""The price book: what each provider charges for each model, with source and date.

The rows come from the ``genai-prices`` data (bundled, so that it works offline, or updated), overridden by the
configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breakeven.catalog.price_data import PriceData, Snapshot
from breakeven.config import PriceOverride
from breakeven.economics.rates import Rate, Rates
from breakeven.errors import ConfigError
from breakeven.units import ZERO_USD

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider

BATCH = {"processing": "batch"}
CALLS_PER_FEE = 1000
_TOKEN_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}


@dataclass(frozen=True, slots=True)
class PriceRow:
    """The rates of one model at one provider.

    Attributes:
        provider / model: as the price book names them.
        rates: USD per million tokens by class.
        source: name and version of the book, or ``configuration: …``.
        effective: date from which the rates hold; ``None`` when the book does not date them.
        snapshot: first 16 hex digits of the SHA-256 of the rates, to tell later whether the row has changed.
        context_window: tokens the model takes, where the book says.
    """

    provider: str
    model: str
    rates: Rates
    source: str
    effective: date | None
    snapshot: str
    context_window: int | None = None


class PriceBook:
    """Finds the row that holds for a model at a time. Lookups are cached; a repeated one takes microseconds."""

    def __init__(self, overrides: Mapping[str, PriceOverride], snapshot: Snapshot | None = None) -> None:
        self._overrides = {tuple(key.split("/", 1)): override for key, override in overrides.items()}
        self._snapshot = snapshot or Snapshot.bundled()
        self._override_rows = {key: _override_row(key[0], key[1], row) for key, row in self._overrides.items()}
        self._models: dict[tuple[str, str], tuple[Provider, ModelInfo] | None] = {}
        self._rows: dict[tuple[str, int, int | None], PriceRow] = {}

    def find(self, provider: str, model: str, *, at: datetime, batch: bool = False) -> PriceRow | None:
        """The row for a model at a provider, ``None`` when the price is not known.

        Args:
            provider: its name in the book, for instance ``anthropic``.
            model: the model as asked for or as served; dated names are recognised.
            at: when the call was made (aware); decides between dated and time-of-day prices.
            batch: the batch tier; unknown where the book has no batch row for the model.
        """
        override = self._override_rows.get((provider, model))
        if override is not None and not batch and override.effective is not None and at.date() >= override.effective:
            return override
        key = (provider, model)
        if key not in self._models:
            self._models[key] = self._snapshot.loaded.find(provider, model)
        found = self._models[key]
        return None if found is None else self._row(*found, at, batch=batch)

    def warm(self) -> None:
        """Load the book now rather than at the first lookup; takes about a second."""
        _ = self._snapshot.loaded

    @property
    def data(self) -> PriceData:
        """The data below the overrides."""
        return self._snapshot.loaded

    def rows(self, at: datetime) -> Iterator[PriceRow]:
        """Every row of the data that holds at a time, overrides left out."""
        for provider in self._snapshot.loaded.providers:
            for model in provider.models:
                if (row := self._row(provider, model, at, batch=False)) is not None:
                    yield row

    def changes_between(self, provider: str, model: str, since: datetime, until: datetime) -> list[datetime]:
        """The moments in ``since < t < until`` at which the row of a model may become another, in order."""
        found = self._snapshot.loaded.find(provider, model)
        moments: set[datetime] = set()
        override = self._override_rows.get((provider, model))
        if override is not None and override.effective is not None:
            moments.add(_midnight(override.effective))
        if found is not None:
            for constraint in _constraints(found[1]):
                moments.update(_moments(constraint, since, until))
        return sorted(moment for moment in moments if since < moment < until)

    def providers_of(self, model: str) -> list[str]:
        """Names of the providers that list a model."""
        return sorted({p.id for p in self._snapshot.loaded.providers if p.find_model(model) is not None})

    def model_names(self) -> list[str]:
        """Every model name in the book, for suggestions."""
        return sorted({model.id for provider in self._snapshot.loaded.providers for model in provider.models})

    def _row(self, provider: Provider, model: ModelInfo, at: datetime, *, batch: bool) -> PriceRow | None:
        standing = _standing_price(model, at)
        prices, effective = standing.prices, getattr(standing.constraint, "start_date", None)
        variant = None
        if batch:
            variant = _batch_variant(model, at)
            if variant is None:
                return None
            prices = model.get_prices(at, BATCH)
            effective = getattr(variant, "start_date", None) or effective
        # Providers that sell others' models share their prices, and one price may have several dated batch variants.
        key = (provider.id, id(standing.prices), variant and id(variant))
        row = self._rows.get(key)
        if row is None:
            rates = _rates(prices)
            row = self._rows[key] = PriceRow(
                provider=provider.id,
                model=model.id,
                rates=rates,
                source=self._snapshot.loaded.source,
                effective=effective,
                snapshot=_fingerprint(rates),
                context_window=model.context_window,
            )
        return row


def open_book(overrides: Mapping[str, PriceOverride], home: Path | None) -> PriceBook:
    """The price book with the configuration's overrides, over the update kept in the home folder if there is one.

    Raises:
        ConfigError: when an override is not named ``provider/model``.
    """
    for key, override in overrides.items():
        if "/" not in key:
            raise ConfigError(f"prices.{key}", override.source, "a table named provider/model")
    return PriceBook(overrides, Snapshot.standing(home))


def _standing_price(model: ModelInfo, at: datetime) -> ConditionalPrice:
    from genai_prices.types import ConditionalPrice  # noqa: PLC0415 - see price_data.bundled

    if not isinstance(model.prices, list):
        return ConditionalPrice(prices=model.prices)
    for candidate in reversed(model.prices):
        if candidate.constraint is None or candidate.constraint.active(at):
            return candidate
    return model.prices[0]


def _constraints(model: ModelInfo) -> Iterator[Any]:
    standard = model.prices if isinstance(model.prices, list) else []
    for holder in (*standard, *(model.price_variants or ())):
        if holder.constraint is not None:
            yield holder.constraint


def _moments(constraint: Any, since: datetime, until: datetime) -> Iterator[datetime]:
    """When a constraint begins or ends to hold: once on a date, or twice a day."""
    start_date = getattr(constraint, "start_date", None)
    if start_date is not None:
        yield _midnight(start_date)
        return
    for days in range((until - since).days + 3):
        day = since.date() + timedelta(days=days - 1)
        for time in (constraint.start_time, constraint.end_time):
            yield datetime.combine(day, time, time.tzinfo or UTC).astimezone(UTC)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _batch_variant(model: ModelInfo, at: datetime) -> Any:
    """The constraint of the batch variant that holds, ``True`` for one without, ``None`` when there is none."""
    for variant in model.price_variants or ():
        if variant.when == BATCH and (variant.constraint is None or variant.constraint.active(at)):
            return variant.constraint or True
    return None


def _rates(prices: ModelPrice) -> Rates:
    classes = {name: _rate(prices.__dict__.get(key)) for key, name in _TOKEN_KEYS.items()}
    fee = prices.__dict__.get("requests_kcount")
    per_call = fee / CALLS_PER_FEE if isinstance(fee, Decimal) else ZERO_USD
    return Rates(**classes, per_call=per_call)


def _rate(value: Any) -> Rate | None:
    if value is None or isinstance(value, Decimal):
        return None if value is None else Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))


def _override_row(provider: str, model: str, override: PriceOverride) -> PriceRow:
    def rate(value: Decimal | None) -> Rate | None:
        return None if value is None else Rate(value)

    rates = Rates(
        input=rate(override.input),
        output=rate(override.output),
        cache_read=rate(override.cache_read),
        cache_write_5m=rate(override.cache_write_5m),
        cache_write_1h=rate(override.cache_write_1h),
    )
    effective = date.fromisoformat(override.effective)
    source = f"configuration: {override.source}"
    return PriceRow(provider, model, rates, source, effective, _fingerprint(rates))


def _fingerprint(rates: Rates) -> str:
    return hashlib.sha256(repr(rates).encode()).hexdigest()[:16]
