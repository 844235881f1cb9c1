"""Breakeven by one division: the plain formulas people publish, reproduced as they stand.

None of them knows capacity, prefill, idle power, resale or token classes; ``curve`` does. They are here so that a
published claim can be recomputed from its own inputs before it is held against the full calculation.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.units import HOURS_PER_MONTH, TOKENS_PER_MILLION, Usd


@dataclass(frozen=True, slots=True)
class SimpleBreakeven:
    """Tokens a month at which a box costs what the cloud does, and the two monthly costs behind it.

    Attributes:
        hardware_usd_monthly: H, the purchase spread evenly over the term.
        electricity_usd_monthly: E.
        usd_per_million: C, one blended cloud price.
        tokens_monthly: M = (H + E) / C, unrounded.
    """

    hardware_usd_monthly: Usd
    electricity_usd_monthly: Usd
    usd_per_million: Usd

    @property
    def tokens_monthly(self) -> Decimal:
        """M = (H + E) / C."""
        return (self.hardware_usd_monthly + self.electricity_usd_monthly) / self.usd_per_million * TOKENS_PER_MILLION


def simple_breakeven(
    *, purchase_usd: Usd, term_months: int, electricity_usd_monthly: Usd, usd_per_million: Usd
) -> SimpleBreakeven:
    """M × C = H + E with H = purchase / term.

    >>> seed = simple_breakeven(purchase_usd=Decimal(6000), term_months=36,
    ...     electricity_usd_monthly=electricity_usd_monthly(watts=Decimal(200), usd_per_kwh=Decimal("0.17")),
    ...     usd_per_million=Decimal(3))
    >>> f"{seed.hardware_usd_monthly:.2f} + {seed.electricity_usd_monthly:.2f}: {seed.tokens_monthly / 10**6:.1f} M"
    '166.67 + 24.82: 63.8 M'
    """
    require_not_negative("purchase_usd", purchase_usd)
    require_positive("term_months", term_months)
    require_not_negative("electricity_usd_monthly", electricity_usd_monthly)
    require_positive("usd_per_million", usd_per_million)
    return SimpleBreakeven(purchase_usd / term_months, electricity_usd_monthly, usd_per_million)


def electricity_usd_monthly(
    *, watts: Decimal, usd_per_kwh: Usd, hours_monthly: Decimal = Decimal(HOURS_PER_MONTH)
) -> Usd:
    """A constant draw for ``hours_monthly`` hours at the tariff."""
    require_not_negative("watts", watts)
    require_not_negative("usd_per_kwh", usd_per_kwh)
    require_not_negative("hours_monthly", hours_monthly)
    return watts / 1000 * hours_monthly * usd_per_kwh


def card_payback_months(
    *,
    cards: int,
    card_usd: Usd,
    card_kilowatts: Decimal,
    tokens_per_second: Decimal,
    input_usd_per_million: Usd,
    output_usd_per_million: Usd,
    hours_monthly: Decimal = Decimal(176),
    usd_per_kwh: Usd = Decimal("0.15"),
) -> Decimal | None:
    """Months until cards have paid for themselves, by Pan & Wang, arXiv 2509.18101v3, table IV.

    N·$card / (Q·(in/3 + 2·out/3) − N·kW·H·$/kWh) with Q = tok/s·H·3600/10⁶ million tokens a month. The constants in
    the paper's text do not give its table; H = 176 hours a month, 0.300 kW for an A100 and 0.500 kW for an RTX 5090 do.
    ``None`` when the electricity costs as much as the cloud, so that the cards never pay.
    """
    require_positive("cards", cards)
    require_positive("card_usd", card_usd)
    require_positive("tokens_per_second", tokens_per_second)
    require_positive("hours_monthly", hours_monthly)
    require_not_negative("card_kilowatts", card_kilowatts)
    require_not_negative("input_usd_per_million", input_usd_per_million)
    require_not_negative("output_usd_per_million", output_usd_per_million)
    require_not_negative("usd_per_kwh", usd_per_kwh)
    million_tokens_monthly = tokens_per_second * hours_monthly * 3600 / TOKENS_PER_MILLION
    cloud_usd = million_tokens_monthly * (input_usd_per_million + 2 * output_usd_per_million) / 3
    saved_usd = cloud_usd - cards * card_kilowatts * hours_monthly * usd_per_kwh
    return cards * card_usd / saved_usd if saved_usd > 0 else None


def rented_usd_per_million(*, usd_per_hour: Usd, tokens_per_second: Decimal) -> Usd:
    """What a million tokens cost on a machine rented by the hour and never idle."""
    require_not_negative("usd_per_hour", usd_per_hour)
    require_positive("tokens_per_second", tokens_per_second)
    return usd_per_hour / (tokens_per_second * 3600) * TOKENS_PER_MILLION
