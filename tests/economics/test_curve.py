"""Where local wins is a set of intervals, and every point of them agrees with the curve."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.curve import (
    CloudCurve,
    Interval,
    LocalCurve,
    OverflowCurve,
    crossing_tokens,
    overflow_winning_intervals,
    sawtooth,
    winning_intervals,
)
from breakeven.economics.local import BoxCost, modelled_watt_hours
from breakeven.errors import ScenarioError

M4_MAX = BoxCost(
    purchase_usd=Decimal(6000),
    term_months=36,
    idle_watts=Decimal(6),
    load_watts=Decimal(145),
    usd_per_kwh=Decimal("0.17"),
)
SECONDS_PER_MILLION_20_TO_1 = Decimal(1_000_000) / 21 * 20 / 80 + Decimal(1_000_000) / 21 / 10
ENERGY_PER_MILLION = M4_MAX.energy_usd(modelled_watt_hours(M4_MAX, SECONDS_PER_MILLION_20_TO_1))
CAPACITY = int(Decimal("0.7") * 730 * 3600 / SECONDS_PER_MILLION_20_TO_1 * 1_000_000)
STUDIO = LocalCurve(M4_MAX.amortisation_usd_monthly + M4_MAX.idle_usd_monthly, ENERGY_PER_MILLION, CAPACITY)


def test_a_million_tokens_at_20_to_1_take_11_cents_of_electricity_on_an_m4_max():
    assert round(ENERGY_PER_MILLION, 3) == Decimal("0.109")
    assert round(CAPACITY / 1e6) == 110


def test_against_the_same_model_hosted_elsewhere_the_box_is_full_before_it_has_paid():
    idle_at_9_watts = Decimal(9) * 730 / 1000 * Decimal("0.17")
    box = LocalCurve(M4_MAX.amortisation_usd_monthly + idle_at_9_watts, Decimal("0.109"), 110_000_000)
    hosted = CloudCurve(Decimal("0.60"))

    assert round(crossing_tokens(box, hosted) / 10**6) == 342
    assert round(crossing_tokens(STUDIO, hosted) / 10**6) == 341
    assert not winning_intervals(box, hosted)
    assert not winning_intervals(STUDIO, hosted)


def test_against_a_3_dollar_cloud_the_box_wins_in_several_intervals_before_the_tail():
    box = LocalCurve(Decimal(168), Decimal("0.10"), 80_000_000)

    assert winning_intervals(box, CloudCurve(Decimal("2.90"))).intervals == (
        Interval(60_000_001, 80_000_000),
        Interval(120_000_001, 160_000_000),
        Interval(180_000_001, None),
    )


def test_a_limit_of_boxes_ends_the_last_interval_at_their_capacity():
    box = LocalCurve(Decimal(168), Decimal("0.10"), 80_000_000, max_boxes=5)

    assert winning_intervals(box, CloudCurve(Decimal("2.90"))).intervals[-1] == Interval(180_000_001, 400_000_000)
    assert box.usd_monthly(400_000_001) is None


def test_electricity_dearer_than_the_cloud_never_wins():
    box = LocalCurve(Decimal(0), Decimal("0.109"), 110_000_000)

    assert crossing_tokens(box, CloudCurve(Decimal("0.1"))) is None
    assert not winning_intervals(box, CloudCurve(Decimal("0.109")))


def test_a_box_already_owned_and_free_to_keep_wins_from_the_first_token():
    box = LocalCurve(Decimal(0), Decimal("0.109"), 110_000_000)

    assert winning_intervals(box, CloudCurve(Decimal(3))).intervals == (Interval(1, None),)


def test_a_price_at_the_edge_gives_more_intervals_than_one_lists_and_says_how_many_are_left_out():
    box = LocalCurve(Decimal(100), Decimal(0), 100_000_000)

    found = winning_intervals(box, CloudCurve(Decimal("1.000001")), listed_at_most=3)

    assert [interval.first for interval in found.intervals[:3]] == [99_999_901, 199_999_801, 299_999_701]
    assert found.intervals[-1].last is None
    assert found.unlisted > 900_000


def test_overflow_to_the_cloud_keeps_its_lead_beyond_capacity():
    overflow = OverflowCurve(LocalCurve(Decimal(168), Decimal("0.10"), 80_000_000), CloudCurve(Decimal("2.90")))

    assert overflow_winning_intervals(overflow).intervals == (Interval(60_000_001, None),)
    assert overflow.usd_monthly(100_000_000) == 168 + 8 + 58


def test_the_sawtooth_jumps_by_one_box_at_every_full_one():
    box = LocalCurve(Decimal(168), Decimal(0), 80)

    assert sawtooth(box, 100) == ((0, Decimal(168)), (80, Decimal(168)), (81, Decimal(336)), (100, Decimal(336)))


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("capacity_tokens", {"capacity_tokens": 0}),
        ("box_usd_monthly", {"box_usd_monthly": Decimal(-1)}),
        ("local.usd_per_million", {"usd_per_million": Decimal("NaN")}),
        ("max_boxes", {"max_boxes": 0}),
    ],
)
def test_an_impossible_box_is_refused_by_name(key, fields):
    box = {"box_usd_monthly": Decimal(1), "usd_per_million": Decimal(1), "capacity_tokens": 1}
    with pytest.raises(ScenarioError, match=key):
        LocalCurve(**box | fields)


money = st.decimals(0, 50, places=1)
boxes = st.builds(
    LocalCurve,
    box_usd_monthly=money,
    usd_per_million=st.decimals(0, 10**6, places=0),
    capacity_tokens=st.integers(1, 40),
    max_boxes=st.none() | st.integers(1, 12),
)
clouds = st.builds(CloudCurve, st.decimals(0, 10**7, places=0))


@given(boxes, clouds)
def test_intervals_agree_with_the_curve_at_every_point(local, cloud):
    found = winning_intervals(local, cloud)

    for volume in range(1, 400):
        usd = local.usd_monthly(volume)
        assert (volume in found) == (usd is not None and usd < cloud.usd_monthly(volume)), volume


@given(boxes, clouds)
def test_intervals_rise_and_do_not_touch(local, cloud):
    intervals = winning_intervals(local, cloud).intervals

    assert all(interval.last is None or interval.first <= interval.last for interval in intervals)
    assert all(left.last + 1 < right.first for left, right in pairwise(intervals))


@given(boxes, clouds, st.integers(1, 5))
def test_overflow_intervals_agree_with_the_curve_at_every_point(local, cloud, count):
    curve = OverflowCurve(local, cloud, count)
    found = overflow_winning_intervals(curve)

    for volume in range(1, 400):
        assert (volume in found) == (curve.usd_monthly(volume) < cloud.usd_monthly(volume)), volume
