"""What tokens cost at a row of the price book, and where that price comes from. Pure."""

from __future__ import annotations

from decimal import Decimal

from breakeven.catalog.prices import PriceRow
from breakeven.economics.rates import price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import PriceProvenance


def priced(tokens: TokenCounts | None, row: PriceRow | None) -> Decimal | None:
    """US dollars of one call; ``None`` when its tokens or its price are unknown."""
    if tokens is None or row is None:
        return None
    cost = price_call(tokens, row.rates)
    return cost.total if cost is not None else None


def provenance(row: PriceRow | None) -> PriceProvenance | None:
    """Where the row's prices come from."""
    if row is None:
        return None
    return PriceProvenance(row.source, row.effective.isoformat() if row.effective else None, row.snapshot)
