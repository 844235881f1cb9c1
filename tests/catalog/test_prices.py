"""The price book agrees with its source to the last digit, and says when it does not know."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from breakeven.catalog.prices import PriceBook, open_book
from breakeven.config import PriceOverride
from breakeven.economics.rates import price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import ConfigError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOOK = open_book({}, None)
TOKEN_KEYS = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"}


def _plain(prices: Any) -> bool:
    """Priced by the token classes of a text call alone (searches and storage are billed apart)."""
    keys = {key for key, value in prices.__dict__.items() if value is not None}
    return {"input_mtok", "output_mtok"} <= keys and keys <= TOKEN_KEYS | {"web_searches_kcount"}


def _answers_to_its_name(provider: Any, model: Any) -> bool:
    """Some entries of the source are shadowed by another that claims their name first."""
    return provider.find_model(model.id) is model


PLAIN = [
    (provider, model)
    for provider in get_snapshot().providers
    for model in provider.models
    if _plain(model.get_prices(NOW)) and _answers_to_its_name(provider, model)
]


@given(
    st.integers(0, len(PLAIN) - 1),
    st.builds(
        TokenCounts,
        uncached_input=st.integers(0, 2_000_000),
        cache_read=st.integers(0, 2_000_000),
        cache_write_5m=st.integers(0, 500_000),
        output=st.integers(0, 200_000),
    ),
)
def test_a_call_costs_what_the_source_says(index: int, counts: TokenCounts) -> None:
    provider, model = PLAIN[index]
    row = BOOK.find(provider.id, model.id, at=NOW)
    assert row is not None
    usage = Usage(
        input_tokens=counts.input,
        cache_read_tokens=counts.cache_read,
        cache_write_tokens=counts.cache_write_5m,
        output_tokens=counts.output,
    )
    expected = model.calc_price(usage, provider, genai_request_timestamp=NOW).total_price
    cost = price_call(counts, row.rates)
    assert cost is not None
    assert cost.total == expected


def test_cached_input_on_sonnet_costs_a_twentieth() -> None:
    row = BOOK.find("anthropic", "claude-sonnet-5-5", at=NOW)
    assert row is not None
    cost = price_call(TokenCounts(uncached_input=20_000, cache_read=80_000, output=5_000), row.rates)
    assert cost is not None
    assert cost.total == Decimal("0.098")


def test_pricing_the_sum_of_calls_is_the_classic_error() -> None:
    row = BOOK.find("anthropic", "claude-haiku-5-5", at=NOW)
    assert row is not None
    one = TokenCounts(uncached_input=100_000, output=1_000)
    whole = sum((one for _ in range(9)), one)
    each, summed = price_call(one, row.rates), price_call(whole, row.rates)
    assert each is not None
    assert summed is not None
    assert summed.total > 10 * each.total


@pytest.mark.parametrize(("provider", "model"), [("anthropic", "claude-nonesuch"), ("nobody", "gpt-6-luna")])
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    assert BOOK.find(provider, model, at=NOW) is None


def test_a_row_says_where_it_comes_from() -> None:
    row = BOOK.find("anthropic", "claude-sonnet-5-5", at=NOW)
    assert row is not None
    assert row.source.startswith("genai-prices ")
    assert len(row.snapshot) == 16


def test_dated_prices_change_on_their_date() -> None:
    provider, model = next(
        (provider, model)
        for provider, model in PLAIN
        if isinstance(model.prices, list)
        and len(model.prices) == 2
        and hasattr(model.prices[1].constraint, "start_date")
        and model.prices[1].constraint.start_date <= NOW.date()
    )
    start = model.prices[1].constraint.start_date
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    before = BOOK.find(provider.id, model.id, at=midnight.replace(year=start.year - 1))
    after = BOOK.find(provider.id, model.id, at=midnight)
    assert before is not None
    assert after is not None
    assert (before.effective, after.effective) == (None, start)


def test_batch_rows_are_known_or_not_given() -> None:
    standard = BOOK.find("anthropic", "claude-sonnet-5-5", at=NOW)
    batch = BOOK.find("anthropic", "claude-sonnet-5-5", at=NOW, batch=True)
    assert standard is not None
    assert standard.rates.input is not None
    if batch is not None:
        assert batch.rates.input is not None
        assert batch.rates.input.base == standard.rates.input.base / 2
    assert BOOK.find("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", at=NOW, batch=True) is None


def _override(effective: str) -> dict[str, PriceOverride]:
    row = PriceOverride(input=Decimal(1), output=Decimal(3), source="contract 7", effective=effective)
    return {"anthropic/claude-sonnet-5-5": row}


def test_an_override_holds_from_its_date() -> None:
    book = PriceBook(_override("2026-11-01"))
    row = book.find("anthropic", "claude-sonnet-5-5", at=NOW)
    assert row is not None
    assert (row.source, row.effective) == ("configuration: contract 7", date(2026, 11, 1))
    earlier = book.find("anthropic", "claude-sonnet-5-5", at=datetime(2026, 10, 31, tzinfo=UTC))
    assert earlier is not None
    assert earlier.source.startswith("genai-prices")


def test_an_override_without_a_provider_is_refused() -> None:
    row = PriceOverride(input=Decimal(1), output=Decimal(3), source="x", effective="2026-01-01")
    with pytest.raises(ConfigError, match="provider/model"):
        open_book({"sonnet": row}, None)
