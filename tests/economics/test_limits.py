"""A burst in a cloud account takes as long as the account's limits make it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.limits import AccountLimits, LimitedRequest, burst, tier_for
from breakeven.errors import ScenarioError

STEP = LimitedRequest(input_tokens=2_000, output_tokens=150, seconds=5.0)
FORTY_TOPICS = [[STEP] * 4] * 40


def test_without_limits_forty_topics_take_as_long_as_one():
    forecast = burst(FORTY_TOPICS, AccountLimits("unlimited"))

    assert (forecast.seconds, forecast.waited_seconds, forecast.held_by) == (20.0, 0.0, ())


def test_50_requests_a_minute_stretch_160_requests_over_more_than_two_minutes():
    forecast = burst(FORTY_TOPICS, AccountLimits("tier 1", requests_per_minute=50))

    assert forecast.seconds == pytest.approx((160 - 50) * 60 / 50 + 5)
    assert forecast.held_by == ("requests_per_minute",)


def test_30000_input_tokens_a_minute_stretch_320000_tokens_over_almost_ten():
    forecast = burst(FORTY_TOPICS, AccountLimits("tier 1", requests_per_minute=50, input_tokens_per_minute=30_000))

    assert forecast.seconds == pytest.approx((320_000 - 30_000) / 30_000 * 60 + 5)
    assert "input_tokens_per_minute" in forecast.held_by


def test_ten_at_a_time_run_in_sixteen_rounds():
    assert burst(FORTY_TOPICS, AccountLimits("narrow", concurrent_requests=10)).seconds == 16 * 5


def test_a_request_larger_than_a_minute_of_the_limit_is_never_admitted():
    forecast = burst([[STEP]], AccountLimits("free", tokens_per_minute=2_000))

    assert forecast.seconds is None
    assert forecast.held_by == ("tokens_per_minute",)


def test_the_lowest_tier_that_is_quick_enough():
    tiers = [
        AccountLimits("1", requests_per_minute=50, input_tokens_per_minute=30_000, deposit_usd=Decimal(5)),
        AccountLimits("2", requests_per_minute=1_000, input_tokens_per_minute=450_000, deposit_usd=Decimal(40)),
        AccountLimits("3", requests_per_minute=2_000, input_tokens_per_minute=800_000, deposit_usd=Decimal(200)),
    ]

    assert tier_for(FORTY_TOPICS, tiers, within_seconds=60).name == "2"
    assert tier_for(FORTY_TOPICS, tiers, within_seconds=3600).name == "1"
    assert tier_for(FORTY_TOPICS, tiers, within_seconds=10) is None


def test_a_limit_of_zero_is_refused_by_name():
    with pytest.raises(ScenarioError, match=r"tier 0\.requests_per_minute"):
        AccountLimits("tier 0", requests_per_minute=0)


requests = st.builds(LimitedRequest, st.integers(0, 900), st.integers(0, 100), st.floats(0, 30))


@given(st.lists(st.lists(requests, max_size=3), min_size=1, max_size=6), st.integers(1, 60), st.integers(1_000, 9_000))
def test_a_burst_is_never_quicker_than_its_longest_chain_nor_than_its_limits(chains, rpm, tpm):
    forecast = burst(chains, AccountLimits("any", requests_per_minute=rpm, tokens_per_minute=tpm))
    tokens = sum(request.input_tokens + request.output_tokens for chain in chains for request in chain)

    assert forecast.seconds >= max(sum(request.seconds for request in chain) for chain in chains) - 1e-6
    assert forecast.seconds >= (tokens - tpm) * 60 / tpm - 1e-6
    assert forecast.seconds >= (sum(map(len, chains)) - rpm) * 60 / rpm - 1e-6
