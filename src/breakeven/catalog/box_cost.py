"""The cost of the configured machine."""

from __future__ import annotations

from decimal import Decimal

from breakeven.config.settings import BoxSettings
from breakeven.economics.local import BoxCost

DEFAULT_USD_PER_KWH = Decimal("0.17")
"""About the average of US households in 2025 (EIA); ``box.usd_per_kwh`` replaces it."""


def box_cost(settings: BoxSettings) -> BoxCost | None:
    """What ``[box]`` says the machine costs; ``None`` unless its price and both draws are given."""
    if settings.purchase_usd is None or settings.idle_watts is None or settings.load_watts is None:
        return None
    return BoxCost(
        purchase_usd=settings.purchase_usd,
        term_months=settings.term_months,
        idle_watts=settings.idle_watts,
        load_watts=settings.load_watts,
        usd_per_kwh=DEFAULT_USD_PER_KWH if settings.usd_per_kwh is None else settings.usd_per_kwh,
        resale_usd=settings.resale_usd,
        capital_rate_monthly=monthly_rate(settings.capital_rate_yearly),
        pue=settings.pue,
        care_usd_monthly=settings.care_hours_monthly * settings.wage_usd_hourly,
    )


def monthly_rate(yearly: Decimal) -> Decimal:
    """The monthly rate that compounds to a yearly one: (1 + y)^(1/12) − 1."""
    return (1 + yearly) ** (Decimal(1) / 12) - 1 if yearly else Decimal(0)
