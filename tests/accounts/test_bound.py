"""What is reserved is never less than what the same request is priced at afterwards."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from breakeven.accounts.bound import TOKENS_PER_CALL, upper_bound
from breakeven.economics.rates import Rate, Rates, price_call
from breakeven.economics.tokens import TokenCounts

prices = st.decimals(0, 80, places=4)
tiers = st.lists(st.tuples(st.integers(1, 4_000), prices), max_size=2).map(lambda rows: tuple(sorted(rows)))
rates = st.builds(Rate, prices, tiers)
optional = st.none() | rates
price_lists = st.builds(
    Rates,
    input=rates,
    output=rates,
    cache_read=optional,
    cache_write_5m=optional,
    cache_write_1h=optional,
    reasoning=optional,
    per_call=prices,
)


@given(st.data(), price_lists, st.integers(0, 3_000), st.integers(0, 2_000))
def test_no_split_of_the_tokens_costs_more_than_the_bound(
    data: st.DataObject, price_list: Rates, prompt_bytes: int, max_output: int
) -> None:
    bound = upper_bound(prompt_bytes, max_output, price_list)
    assert bound is not None
    prompt = data.draw(st.integers(0, prompt_bytes + TOKENS_PER_CALL))
    read = data.draw(st.integers(0, prompt))
    write_5m = data.draw(st.integers(0, prompt - read))
    write_1h = data.draw(st.integers(0, prompt - read - write_5m))
    output = data.draw(st.integers(0, max_output))
    counts = TokenCounts(
        prompt - read - write_5m - write_1h, read, write_5m, write_1h, output, data.draw(st.integers(0, output))
    )
    cost = price_call(counts, price_list)
    assert cost is not None
    assert cost.total <= bound


def test_without_a_price_or_a_limit_there_is_no_bound() -> None:
    dollar = Rate(Decimal(1))
    assert upper_bound(10, 10, Rates(input=dollar)) is None
    assert upper_bound(10, 10, Rates(output=dollar)) is None
    assert upper_bound(10, None, Rates(input=dollar, output=dollar)) is None


def test_further_choices_are_paid_like_the_first() -> None:
    list_price = Rates(input=Rate(Decimal(1)), output=Rate(Decimal(10)))
    one = upper_bound(0, 1_000_000, list_price)
    assert one is not None
    assert upper_bound(0, 1_000_000, list_price, choices=3) == one + 20
