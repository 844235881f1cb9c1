from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.rates import Rate, Rates, price_call, price_range
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError

SONNET = Rates(
    input=Rate(Decimal(2)),
    output=Rate(Decimal(10)),
    cache_read=Rate(Decimal("0.1")),
    cache_write_5m=Rate(Decimal("2.5")),
    cache_write_1h=Rate(Decimal(4)),
)
TIERED = Rates(
    input=Rate(Decimal(1), ((200_000, Decimal(2)),)),
    output=Rate(Decimal(5), ((200_000, Decimal(7)),)),
)
counts = st.builds(
    TokenCounts,
    uncached_input=st.integers(0, 10**7),
    cache_read=st.integers(0, 10**7),
    cache_write_5m=st.integers(0, 10**6),
    cache_write_1h=st.integers(0, 10**6),
    output=st.integers(0, 10**6),
)


def total(tokens: TokenCounts, rates: Rates) -> Decimal:
    cost = price_call(tokens, rates)
    assert cost is not None
    return cost.total


def test_cached_input_is_billed_at_its_own_rate() -> None:
    assert total(TokenCounts(uncached_input=20_000, cache_read=80_000, output=5_000), SONNET) == Decimal("0.098")


def test_crossing_a_tier_reprices_every_token_of_the_call() -> None:
    assert total(TokenCounts(uncached_input=200_000), TIERED) == Decimal("0.2")
    assert total(TokenCounts(uncached_input=200_001), TIERED) == Decimal("0.400002")


def test_cached_tokens_count_towards_the_tier() -> None:
    assert total(TokenCounts(uncached_input=1, cache_read=200_000, output=10), TIERED) == Decimal("0.400072")


def test_a_class_without_any_rate_makes_the_call_unpriceable() -> None:
    assert price_call(TokenCounts(output=1), Rates(input=Rate(Decimal(1)))) is None
    assert total(TokenCounts(uncached_input=1), Rates(input=Rate(Decimal(1)))) == Decimal("0.000001")


@given(counts, counts)
def test_more_tokens_never_cost_less(one: TokenCounts, more: TokenCounts) -> None:
    assert total(one + more, TIERED) >= total(one, TIERED)
    assert total(one + more, SONNET) == total(one, SONNET) + total(more, SONNET)


@given(counts)
def test_inclusive_and_exclusive_reports_of_the_same_call_agree(call: TokenCounts) -> None:
    cached = {
        "cache_read": call.cache_read,
        "cache_write_5m": call.cache_write_5m,
        "cache_write_1h": call.cache_write_1h,
    }
    inclusive = TokenCounts.reported(
        input_tokens=call.input, output_tokens=call.output, input_includes_cached=True, **cached
    )
    exclusive = TokenCounts.reported(
        input_tokens=call.uncached_input, output_tokens=call.output, input_includes_cached=False, **cached
    )
    assert inclusive == exclusive == call


def test_a_report_whose_cache_exceeds_its_input_is_refused() -> None:
    with pytest.raises(InputError, match="smaller than the 10 cached"):
        TokenCounts.reported(input_tokens=5, output_tokens=0, cache_read=10, input_includes_cached=True)


@given(counts)
def test_nothing_left_open_makes_the_range_a_point(tokens: TokenCounts) -> None:
    found = price_range(tokens, SONNET)
    assert found is not None
    assert found.least == found.most == total(tokens, SONNET)


@given(counts)
def test_a_call_lies_in_the_range_of_what_is_known_when_its_cached_tokens_are_not_told(tokens: TokenCounts) -> None:
    untold = TokenCounts(uncached_input=tokens.input, output=tokens.output, cache_known=False)
    found = price_range(untold, SONNET)
    assert found is not None
    assert found.least <= total(tokens, SONNET) <= found.most
    assert price_call(untold, SONNET) is None or not tokens.input


def test_cached_tokens_that_nobody_told_do_not_matter_where_they_cost_the_same() -> None:
    untold = TokenCounts(uncached_input=100, output=10, cache_known=False)
    assert total(untold, TIERED) == Decimal("0.00015")


@given(st.lists(counts, min_size=1, max_size=5))
def test_calls_lie_in_the_range_of_their_sum(calls: list[TokenCounts]) -> None:
    summed = sum(calls[1:], calls[0])
    found = price_range(summed, TIERED, calls=len(calls))
    assert found is not None
    assert found.least <= sum(total(one, TIERED) for one in calls) <= found.most


def test_a_sum_of_unknown_many_calls_at_a_fee_each_has_no_price() -> None:
    assert price_range(TokenCounts(), Rates(per_call=Decimal("0.01")), calls=None) is None
    assert price_range(TokenCounts(output=1), Rates(input=Rate(Decimal(1))), calls=2) is None


def test_reasoning_at_a_rate_of_its_own_that_nobody_counted_is_a_range() -> None:
    thinking = Rates(input=Rate(Decimal(1)), output=Rate(Decimal(4)), reasoning=Rate(Decimal(2)))
    found = price_range(TokenCounts(output=1_000_000), thinking)
    assert found is not None
    assert (found.least, found.most) == (Decimal(2), Decimal(4))
