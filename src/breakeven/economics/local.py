"""What a call costs on a box one owns: marginal energy, its share of idle power, its share of the purchase."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakeven.units import HOURS_PER_MONTH, SECONDS_PER_MONTH, ZERO_USD


@dataclass(frozen=True, slots=True)
class BoxCost:
    """The fixed and marginal cost of one box.

    Attributes:
        purchase_usd: price paid, K; 0 for a box that is owned already and would stand there anyway.
        resale_usd: value at the end of the term, R.
        term_months: amortisation term, T.
        capital_rate_monthly: cost of capital a month, i; 0 for straight-line amortisation.
        idle_watts: draw when no call is served.
        load_watts: draw while serving.
        usd_per_kwh: electricity tariff.
        pue: power usage effectiveness, the cooling and losses on top; 1 for a desk.
        care_usd_monthly: hours of care times wage, plus upkeep.
    """

    purchase_usd: Decimal
    term_months: int
    idle_watts: Decimal
    load_watts: Decimal
    usd_per_kwh: Decimal
    resale_usd: Decimal = ZERO_USD
    capital_rate_monthly: Decimal = ZERO_USD
    pue: Decimal = Decimal(1)
    care_usd_monthly: Decimal = ZERO_USD

    @property
    def amortisation_usd_monthly(self) -> Decimal:
        """(K − R/(1+i)^T) · i/(1 − (1+i)^−T); (K − R)/T when i = 0."""
        i, months = self.capital_rate_monthly, self.term_months
        if i == 0:
            return (self.purchase_usd - self.resale_usd) / months
        growth = (1 + i) ** months
        return (self.purchase_usd - self.resale_usd / growth) * i / (1 - 1 / growth)

    @property
    def idle_usd_monthly(self) -> Decimal:
        """730 h of idle draw at the tariff."""
        return self.energy_usd(self.idle_watts * HOURS_PER_MONTH)

    @property
    def fixed_usd_monthly(self) -> Decimal:
        """What the box costs a month without serving a call: amortisation, care and 730 h of idle draw."""
        return self.amortisation_usd_monthly + self.care_usd_monthly + self.idle_usd_monthly

    def energy_usd(self, watt_hours: Decimal) -> Decimal:
        """Dollars for this much energy at the socket of the box, PUE included."""
        return watt_hours / 1000 * self.usd_per_kwh * self.pue


@dataclass(frozen=True, slots=True)
class LocalCost:
    """The dollars of one local call by part, unrounded."""

    marginal_energy: Decimal = ZERO_USD
    idle_share: Decimal = ZERO_USD
    amortisation_share: Decimal = ZERO_USD

    @property
    def total(self) -> Decimal:
        """Sum of the parts."""
        return self.marginal_energy + self.idle_share + self.amortisation_share


def modelled_watt_hours(box: BoxCost, box_seconds: Decimal) -> Decimal:
    """Marginal energy without a meter: (W_load − W_idle) × busy time / 3600."""
    return (box.load_watts - box.idle_watts) * box_seconds / 3600


def local_cost(box: BoxCost, box_seconds: Decimal, marginal_watt_hours: Decimal) -> LocalCost:
    """Cost of one call that kept the box busy for ``box_seconds``.

    ``box_seconds`` is the call's share of wall time: n calls served at once share each second n ways, so the
    shares of all calls of a month add up to the box's busy time and never to more. What the shares do not
    cover is the cost of the box standing idle, which a statement shows apart.
    """
    share = box_seconds / SECONDS_PER_MONTH
    return LocalCost(
        marginal_energy=box.energy_usd(marginal_watt_hours),
        idle_share=box.idle_usd_monthly * share,
        amortisation_share=(box.amortisation_usd_monthly + box.care_usd_monthly) * share,
    )
