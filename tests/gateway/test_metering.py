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


@pytest.mark.parametrize(
    ("tools", "tier", "billed"),
    [
        (False, None, Decimal("0.000012")),
        (True, None, None),
        (False, "priority", Decimal("0.000024")),
        (False, "flex", None),
    ],
)
def test_a_bill_by_rates_that_nobody_gave_is_unknown(
    tools: bool, tier: str | None, billed: Decimal | None, tmp_path: Path
) -> None:
    overrides = {
        name: config.PriceOverride(input=Decimal(into), output=Decimal(out), source="test", effective="2026-01-01")
        for name, into, out in (("cloud/m", 2, 10), ("cloud-priority/m", 4, 20))
    }
    timeouts = config.ProviderSettings(base_url="http://127.0.0.1:9")
    provider = HttpProvider(
        "cloud", base_url=lambda: "http://127.0.0.1:9", locality="remote", timeouts=timeouts, catalog="cloud"
    )
    metering = Metering(open_book(overrides, tmp_path), ("anthropic", "claude-sonnet-5-5"), None, NoEnergy())
    seen = Observation(
        provider, "m", "because", 1_790_000_000.0, Durations(), "completed",
        tokens=TokenCounts(uncached_input=1, output=1), counted_by="provider", unpriced_tools=tools, tier=tier,
    )  # fmt: skip
    assert metering.attempt(seen).money.billed == billed
