"""Money for imported records: what the source says was billed, else the price book's price at the time; and what the
reference model would have charged. What a source leaves open becomes a range."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from breakeven.catalog.prices import PriceBook, PriceRow
from breakeven.economics.rates import PriceRange, price_range
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.pricing import priced, provenance
from breakeven.ledger.records import Attempt, Call, Money, PriceProvenance, UsageBucket

STATED = PriceProvenance("the source itself", None, "")
SUBSCRIPTION = PriceProvenance("a subscription, so nothing is billed by the token", None, "")
QUARTER_HOUR = 900
"""Seconds; prices by the time of day change at whole quarters."""
_UNKNOWN = Money()


class _Row(NamedTuple):
    """A row of the price book as it is written down; neither where there is no price."""

    row: PriceRow | None
    provenance: PriceProvenance | None


_UNPRICED = _Row(None, None)


class Pricer:
    """Prices records.

    Args:
        book: model prices with their provenance.
        reference: provider and model of the price book that usage is compared with.
    """

    def __init__(self, book: PriceBook, reference: tuple[str, str]) -> None:
        self._book = book
        self._reference = reference
        self._rows: dict[tuple[str, str, int, bool], _Row] = {}

    def call(self, call: Call, *, subscription: str | None = None) -> Call:
        """The call, each of its attempts priced.

        ``subscription`` is a provider whose calls a subscription pays for: they are billed nothing, and their
        counterfactual is what the API would have charged for the same model.
        """
        attempts = tuple(self._attempt(attempt, subscription) for attempt in call.attempts)
        return msgspec.structs.replace(call, attempts=attempts)

    def bucket(self, bucket: UsageBucket) -> UsageBucket:
        """The bucket, priced; a range unless every call in it can only have cost the same a token."""
        stated = bucket.money.billed
        if bucket.tokens is None:
            return bucket if stated is None else msgspec.structs.replace(bucket, price=STATED)
        own = self._tiers(bucket.provider, bucket.model, bucket)
        reference = self._tiers(*self._reference, bucket)
        billed = stated if stated is not None else _bucket_price(bucket, own)
        return msgspec.structs.replace(
            bucket,
            money=_money(billed, _bucket_price(bucket, reference)),
            price=STATED if stated is not None else own[0].provenance if own else None,
            reference_model="/".join(self._reference),
            reference_price=reference[0].provenance if reference else None,
        )

    def _attempt(self, attempt: Attempt, subscription: str | None) -> Attempt:
        tokens, model, at = attempt.tokens, attempt.model_served or attempt.model_asked, attempt.started_at
        stated = attempt.money.billed
        own = self._row(attempt.provider, model, at) if attempt.locality == "remote" else _UNPRICED
        reference, reference_model = self._row(*self._reference, at), "/".join(self._reference)
        billed: Decimal | PriceRange | None
        if stated is not None:
            billed, price = stated, STATED
        elif attempt.locality == "local":
            billed, price = Decimal(0), None
        elif attempt.provider == subscription:
            billed, price = Decimal(0), SUBSCRIPTION
            reference, reference_model = own, f"{attempt.provider}/{model}"
        else:
            billed, price = _call_price(tokens, own.row), own.provenance
        return msgspec.structs.replace(
            attempt,
            money=_money(billed, _call_price(tokens, reference.row)),
            price=price,
            reference_model=reference_model,
            reference_price=reference.provenance,
        )

    def _row(self, provider: str, model: str, at: float, *, batch: bool = False) -> _Row:
        key = (provider, model, int(at // QUARTER_HOUR), batch)
        known = self._rows.get(key)
        if known is None:
            moment = datetime.fromtimestamp(at, UTC)
            found = self._book.find(provider, model, at=moment, batch=batch) if model else None
            # The book also finds names that are only like a provider's: others, then, or tiers at other rates.
            found = found if found is not None and found.provider == provider else None
            known = self._rows[key] = _Row(found, provenance(found))
        return known

    def _tiers(self, provider: str, model: str, bucket: UsageBucket) -> list[_Row]:
        """The rows of which any may have held: the standard tier, the batch tier, or both when nobody said. None when
        one that did hold has no price; a model without a batch tier was not served in it."""
        standard, batch = (self._row(provider, model, bucket.start, batch=which) for which in (False, True))
        if bucket.batch:
            return [batch] if batch.row is not None else []
        if standard.row is None:
            return []
        return [standard, batch] if bucket.batch is None and batch.row is not None else [standard]


def _call_price(tokens: TokenCounts | None, row: PriceRow | None) -> Decimal | PriceRange | None:
    price = priced(tokens, row)
    if price is not None or tokens is None or row is None:
        return price
    return price_range(tokens, row.rates)


def _bucket_price(bucket: UsageBucket, rows: list[_Row]) -> Decimal | PriceRange | None:
    priceable = [(bucket.tokens, row.row.rates) for row in rows if bucket.tokens is not None and row.row is not None]
    ranges = [price_range(tokens, rates, calls=bucket.requests) for tokens, rates in priceable]
    known = [one for one in ranges if one is not None]
    if not known or len(known) < len(ranges):
        return None
    least, most = min(one.least for one in known), max(one.most for one in known)
    return least if least == most else PriceRange(least, most)


def _money(billed: Decimal | PriceRange | None, counterfactual: Decimal | PriceRange | None) -> Money:
    if billed is None and counterfactual is None:
        return _UNKNOWN
    return Money(
        billed=billed if isinstance(billed, Decimal) else None,
        counterfactual=counterfactual if isinstance(counterfactual, Decimal) else None,
        billed_range=billed if isinstance(billed, PriceRange) else None,
        counterfactual_range=counterfactual if isinstance(counterfactual, PriceRange) else None,
    )
