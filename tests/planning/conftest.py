from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from breakeven.catalog.prices import PriceRow
from breakeven.economics.rates import Rate, Rates

ON = datetime(2026, 11, 23, tzinfo=UTC)


def rates(prompt, output, *, read=None, write=None, tier=None):
    """Prices a million tokens; ``tier`` is (threshold, factor) on all of them."""

    def rate(value):
        if value is None:
            return None
        base = Decimal(value)
        return Rate(base, () if tier is None else ((tier[0], base * tier[1]),))

    return Rates(input=rate(prompt), output=rate(output), cache_read=rate(read), cache_write_5m=rate(write))


ROWS = {
    "anthropic/claude-sonnet-5-5": rates("2", "10", read="0.1", write="2.5"),
    "anthropic/claude-haiku-5-5": rates("0.1", "0.5", read="0.01", write="0.125", tier=(100_000, 5)),
    "openai/gpt-6-luna": rates("0.1", "0.5", read="0.01"),
    "novita/meta-llama/llama-3.3-70b-instruct": rates("0.135", "0.4"),
    "groq/llama-3.3-70b-versatile": rates("0.59", "0.79"),
}


class FixedPrices:
    """A price book that never changes."""

    def find(self, provider, model, *, at, batch=False):
        found = ROWS.get(f"{provider}/{model}")
        if found is None or batch:
            return None
        return PriceRow(provider, model, found, "fixed for tests", date(2026, 11, 1), "0" * 16)


@pytest.fixture
def prices():
    return FixedPrices()
