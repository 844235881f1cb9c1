"""What becomes of an observation in the books."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from breakeven import config
from breakeven.catalog.prices import open_book
from breakeven.economics.tokens import TokenCounts
from breakeven.gateway.metering import Metering, Observation
from breakeven.ledger.records import Durations
from breakeven.providers.http import HttpProvider


class NoEnergy:
    meter = "none"

    def marginal_watt_hours(self, box_seconds: float) -> Decimal | None:
        return None


@pytest.mark.parametrize(("tools", "billed"), [(False, Decimal("0.000012")), (True, None)])
def test_a_bill_with_the_providers_own_tools_in_it_is_unknown(
    tools: bool, billed: Decimal | None, tmp_path: Path
) -> None:
    overrides = {
        "cloud/m": config.PriceOverride(input=Decimal(2), output=Decimal(10), source="test", effective="2026-01-01")
    }
    timeouts = config.ProviderSettings(base_url="http://127.0.0.1:9")
    provider = HttpProvider(
        "cloud", base_url=lambda: "http://127.0.0.1:9", locality="remote", timeouts=timeouts, catalog="cloud"
    )
    metering = Metering(open_book(overrides, tmp_path), ("anthropic", "claude-sonnet-5-5"), None, NoEnergy())
    seen = Observation(
        provider, "m", "because", 1_790_000_000.0, Durations(), "completed",
        tokens=TokenCounts(uncached_input=1, output=1), counted_by="provider", unpriced_tools=tools,
    )  # fmt: skip
    assert metering.attempt(seen).money.billed == billed
