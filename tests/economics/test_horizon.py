"""Falling cloud prices and the cost of capital decide whether a purchase pays, and sometimes it never does."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.horizon import Purchase, monthly_decay, monthly_rate
from breakeven.economics.local import BoxCost
from breakeven.errors import ScenarioError


def box(**changes):
    fields = {
        "paid_usd": Decimal(6000),
        "running_usd_monthly": Decimal(20),
        "cloud_usd_monthly": Decimal(320),
        "term_months": 36,
    }
    return Purchase(**fields | changes)


def test_at_constant_prices_a_6000_dollar_box_that_saves_300_a_month_pays_back_in_20_months():
    assert box().payback_month == 20
    assert box().net_present_value_usd == 36 * 300 - 6000


def test_resale_counts_at_the_end_and_is_discounted():
    sold = box(resale_usd=Decimal(1000), capital_rate_monthly=Decimal("0.01"))
    kept = box(capital_rate_monthly=Decimal("0.01"))

    assert sold.net_present_value_usd - kept.net_present_value_usd == pytest.approx(1000 / Decimal("1.01") ** 36)


def test_prices_that_halve_every_year_can_keep_a_purchase_from_ever_paying_back():
    falling = box(cloud_usd_monthly=Decimal(250), price_decay_monthly=monthly_decay(Decimal("0.5")))

    assert box(cloud_usd_monthly=Decimal(250)).payback_month == 27
    assert falling.payback_month is None
    assert falling.net_present_value_usd < 0


def test_capital_can_cost_more_than_the_box_saves():
    assert box(cloud_usd_monthly=Decimal(79), capital_rate_monthly=Decimal("0.01")).payback_month is None


def test_a_box_already_owned_has_nothing_to_pay_back():
    assert box(paid_usd=Decimal(0)).payback_month == 0


def test_rising_prices_may_pay_back_a_box_that_loses_at_first():
    assert box(cloud_usd_monthly=Decimal(10), price_decay_monthly=Decimal("-0.2")).payback_month == 26


def test_yearly_rates_compound_to_what_they_say():
    assert (1 + monthly_rate(Decimal("0.06"))) ** 12 == pytest.approx(Decimal("1.06"))
    assert (1 - monthly_decay(Decimal("0.3"))) ** 12 == pytest.approx(Decimal("0.7"))


@pytest.mark.parametrize(
    ("key", "value"), [("price_decay_monthly", Decimal(1)), ("term_months", 0), ("paid_usd", Decimal("NaN"))]
)
def test_an_impossible_purchase_is_refused_by_name(key, value):
    with pytest.raises(ScenarioError, match=key):
        box(**{key: value})


@given(
    rate=st.decimals(0, "0.03", places=3), cloud=st.decimals(0, 1000, places=0), resale=st.decimals(0, 3000, places=0)
)
def test_net_present_value_is_zero_where_the_monthly_cost_of_the_box_equals_the_cloud(rate, cloud, resale):
    """Annuity and present value are two readings of one formula."""
    fixed = BoxCost(
        purchase_usd=Decimal(6000),
        term_months=36,
        idle_watts=Decimal(0),
        load_watts=Decimal(0),
        usd_per_kwh=Decimal(0),
        resale_usd=resale,
        capital_rate_monthly=rate,
    )
    purchase = box(
        capital_rate_monthly=rate, cloud_usd_monthly=cloud, resale_usd=resale, running_usd_monthly=Decimal(0)
    )

    assert (purchase.net_present_value_usd > Decimal("0.001")) <= (cloud > fixed.amortisation_usd_monthly)
    assert (purchase.net_present_value_usd < Decimal("-0.001")) <= (cloud < fixed.amortisation_usd_monthly)
