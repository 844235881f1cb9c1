"""Buying against paying as one goes, month by month: falling cloud prices, cost of capital, resale."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakeven.economics.domain import require_finite, require_not_negative
from breakeven.errors import ScenarioError
from breakeven.units import Usd

PAYBACK_SEARCH_MONTHS = 1200


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase and what it saves.

    Attributes:
        paid_usd: n·K, paid today.
        running_usd_monthly: what local operation costs a month: electricity, care, escalated share.
        cloud_usd_monthly: what the cloud would cost a month at today's prices.
        price_decay_monthly: d, by how much cloud prices fall a month; negative when they rise.
        capital_rate_monthly: i, cost of capital a month.
        resale_usd: n·R, what the boxes fetch at the end of the term.
        term_months: T.
    """

    paid_usd: Usd
    running_usd_monthly: Usd
    cloud_usd_monthly: Usd
    term_months: int
    price_decay_monthly: Decimal = Decimal(0)
    capital_rate_monthly: Decimal = Decimal(0)
    resale_usd: Usd = Decimal(0)

    def __post_init__(self) -> None:
        require_not_negative("paid_usd", self.paid_usd)
        require_not_negative("running_usd_monthly", self.running_usd_monthly)
        require_not_negative("cloud_usd_monthly", self.cloud_usd_monthly)
        require_not_negative("resale_usd", self.resale_usd)
        require_not_negative("capital_rate_monthly", self.capital_rate_monthly)
        require_finite("price_decay_monthly", self.price_decay_monthly)
        if self.price_decay_monthly >= 1:
            raise ScenarioError("price_decay_monthly", str(self.price_decay_monthly), "less than 1")
        if not 1 <= self.term_months <= PAYBACK_SEARCH_MONTHS:
            raise ScenarioError("term_months", self.term_months, f"1 to {PAYBACK_SEARCH_MONTHS} months")

    def saved_usd(self, month: int) -> Usd:
        """Saving of month t discounted to today: (Cloud_0·(1 − d)^t − running) / (1 + i)^t."""
        cloud = self.cloud_usd_monthly * (1 - self.price_decay_monthly) ** month
        return (cloud - self.running_usd_monthly) / (1 + self.capital_rate_monthly) ** month

    @property
    def net_present_value_usd(self) -> Usd:
        """−nK + Σ_{t=1..T} saving_t + nR / (1 + i)^T."""
        savings = sum((self.saved_usd(month) for month in range(1, self.term_months + 1)), Decimal(0))
        return -self.paid_usd + savings + self.resale_usd / (1 + self.capital_rate_monthly) ** self.term_months

    @property
    def payback_month(self) -> int | None:
        """First month in which the discounted savings have repaid the purchase, resale not counted.

        ``None`` for never: falling prices eat the saving before it has repaid the box, or a century passes first.
        """
        owed = self.paid_usd
        if owed <= 0:
            return 0
        for month in range(1, PAYBACK_SEARCH_MONTHS + 1):
            saved = self.saved_usd(month)
            if saved <= 0 and self.price_decay_monthly >= 0:
                return None
            owed -= saved
            if owed <= 0:
                return month
        return None


def monthly_rate(yearly: Decimal) -> Decimal:
    """The monthly rate that compounds to a yearly one, for interest: (1 + y)^(1/12) − 1.

    >>> round(monthly_rate(Decimal("0.06")), 6)
    Decimal('0.004868')
    """
    require_not_negative("yearly_rate", yearly)
    return (1 + yearly) ** (Decimal(1) / 12) - 1


def monthly_decay(yearly: Decimal) -> Decimal:
    """The monthly decay that compounds to a yearly one: 1 − (1 − y)^(1/12).

    >>> round(monthly_decay(Decimal("0.5")), 4)
    Decimal('0.0561')
    """
    require_finite("yearly_decay", yearly)
    if yearly >= 1:
        raise ScenarioError("yearly_decay", str(yearly), "less than 1")
    return 1 - (1 - yearly) ** (Decimal(1) / 12)
