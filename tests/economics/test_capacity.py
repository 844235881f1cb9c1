import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.capacity import BoxesNeeded, boxes_at, busy_boxes, capacity_tokens
from breakeven.errors import ScenarioError

calls_a_day = 31 * 12 * 24 * 4


def seconds(prompt, output):
    return prompt / 80 + output / 10


@pytest.mark.parametrize(("ratio", "millions"), [(1, 33), (3, 54), (20, 110)])
def test_one_box_serves_33_54_or_110_million_tokens_a_month_by_in_out_ratio(ratio, millions):
    served = capacity_tokens(seconds(ratio * 1000, 1000), ratio * 1000 + 1000)

    assert round(served / 1e6) == millions


def test_31_agents_every_five_minutes_with_four_steps_are_35_712_calls_a_day_one_in_2_42_seconds():
    assert calls_a_day == 35_712
    assert 86_400 / calls_a_day == pytest.approx(2.42, abs=0.005)


def test_65_million_tokens_over_those_calls_leave_60_tokens_a_call():
    assert 65e6 / (calls_a_day * 365 / 12) == pytest.approx(60, abs=0.5)


def test_they_need_16_and_a_half_boxes_without_reuse_and_7_2_with_90_percent():
    rate = calls_a_day / 86_400

    assert busy_boxes(rate, seconds(2000, 150)) == pytest.approx(16.5, abs=0.05)
    assert busy_boxes(rate, seconds(200, 150)) == pytest.approx(7.2, abs=0.05)
    assert boxes_at(busy_boxes(rate, seconds(2000, 150))) == 24
    assert boxes_at(busy_boxes(rate, seconds(200, 150))) == 11


@given(st.floats(0, 10), st.integers(0, 10_000), st.integers(1, 2000), st.floats(0, 1), st.floats(0, 1))
def test_more_reuse_never_needs_more_boxes(rate, prompt, output, reuse, more):
    fewer = busy_boxes(rate, seconds(prompt * (1 - max(reuse, more)), output))

    assert boxes_at(fewer) <= boxes_at(busy_boxes(rate, seconds(prompt * (1 - min(reuse, more)), output)))


@pytest.mark.parametrize("utilisation", [0, 1, 1.5, -0.1, float("nan")])
def test_nobody_plans_at_or_beyond_100_percent(utilisation):
    with pytest.raises(ScenarioError, match="utilisation"):
        capacity_tokens(40, 2150, utilisation)


def test_the_greatest_demand_counts():
    assert BoxesNeeded(2.1, 3, 5, 1).boxes == 5
    assert BoxesNeeded(2.1, 3, None, 4).boxes == 4


def test_a_model_that_does_not_fit_is_served_by_no_number_of_boxes():
    assert BoxesNeeded(2.1, 3, 5, None).boxes is None
