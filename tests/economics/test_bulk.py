"""Many calls priced at once cost what they cost one by one, to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.bulk import TokenColumns, price_columns
from breakeven.economics.rates import Rate, Rates, price_call, price_range
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError

amounts = st.decimals(0, 1000, places=6)
tiers = st.lists(st.tuples(st.integers(0, 400_000), amounts), max_size=3, unique_by=lambda tier: tier[0])
rate = st.builds(lambda base, above: Rate(base, tuple(sorted(above))), amounts, tiers)
price_lists = st.builds(
    Rates,
    input=st.none() | rate,
    output=st.none() | rate,
    cache_read=st.none() | rate,
    cache_write_5m=st.none() | rate,
    cache_write_1h=st.none() | rate,
    reasoning=st.none() | rate,
    per_call=amounts,
)


@st.composite
def calls(draw: st.DrawFn) -> TokenCounts:
    few = st.integers(0, 3) | st.integers(0, 500_000)
    output = draw(few)
    return TokenCounts(
        draw(few),
        draw(few),
        draw(few),
        draw(few),
        output,
        draw(st.none() | st.integers(0, output)),
        draw(st.booleans()),
    )


@given(st.lists(calls(), max_size=40), price_lists)
def test_the_sum_is_that_of_the_calls_one_by_one(each: list[TokenCounts], rates: Rates) -> None:
    found = price_columns(TokenColumns.of(each), rates)
    prices = [price_call(call, rates) for call in each]
    ranges = [price_range(call, rates) for call in each]

    assert found.usd == sum((price.total for price in prices if price is not None), Decimal(0))
    assert found.exact.tolist() == [price is not None for price in prices]
    assert found.least == sum((between.least for between in ranges if between is not None), Decimal(0))
    assert found.most == sum((between.most for between in ranges if between is not None), Decimal(0))
    assert found.unknown_calls == ranges.count(None)
    assert found.priced_calls + found.ranged_calls + found.unknown_calls == len(each)


@given(st.lists(calls(), max_size=10))
def test_columns_keep_what_each_call_had(each: list[TokenCounts]) -> None:
    columns = TokenColumns.of(each)

    assert list(columns.counts()) == each
    assert columns.prompt.tolist() == [call.input for call in each]
    assert columns.tokens == sum(call.total for call in each)
    assert list(TokenColumns.joined([columns, columns]).counts()) == each * 2


def test_sums_beyond_64_bits_are_exact() -> None:
    columns = TokenColumns.of([TokenCounts(uncached_input=10**15)] * 10_000)

    assert columns.total("uncached_input") == 10**19


def test_what_is_no_count_of_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="uncached_input"):
        TokenColumns.of([TokenCounts(uncached_input=10**16)])
