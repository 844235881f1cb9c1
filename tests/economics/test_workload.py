"""A mix is priced request by request; a price per million comes out of it and never goes in."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.rates import Rate, Rates, price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.economics.workload import PrefixReuse, RequestClass, RequestMix, cloud_price
from breakeven.errors import ScenarioError

SONNET = Rates(
    input=Rate(Decimal(2)),
    output=Rate(Decimal(10)),
    cache_read=Rate(Decimal("0.1")),
    cache_write_5m=Rate(Decimal("2.5")),
)
TIERED = Rates(
    input=Rate(Decimal("0.1"), ((200_000, Decimal("0.5")),)), output=Rate(Decimal("0.5"), ((200_000, Decimal("2.5")),))
)


def test_a_long_request_mostly_cached():
    request = RequestClass(
        "review", 100_000, 5_000, prefix_tokens=80_000, cloud=PrefixReuse(hit_rate=Decimal(1), written=True)
    )

    assert cloud_price(RequestMix((request,)), SONNET).usd_per_request == Decimal("0.098")


def test_a_miss_pays_for_writing_the_prefix_where_the_provider_charges_it():
    request = RequestClass("cold", 100_000, 0, prefix_tokens=80_000, cloud=PrefixReuse(written=True))

    assert cloud_price(RequestMix((request,)), SONNET).usd_per_request == Decimal("0.24")


def test_pricing_the_sum_of_short_requests_would_put_them_in_the_long_prompt_tier():
    short = RequestClass("chat", 1_000, 200)
    thousand = TokenCounts(uncached_input=1_000_000, output=200_000)

    per_request = 1000 * cloud_price(RequestMix((short,)), TIERED).usd_per_request

    assert per_request == Decimal("0.2")
    assert price_call(thousand, TIERED).total == 5 * per_request


def test_only_the_share_that_can_wait_gets_the_batch_price():
    request = RequestClass("digest", 1_000_000, 0, batch_share=Decimal("0.4"))

    price = cloud_price(RequestMix((request,)), SONNET, SONNET.scaled(Decimal("0.5")))

    assert price.usd_per_million == 2 * (Decimal("0.6") + Decimal("0.4") / 2)


def test_a_mix_averages_by_frequency_of_requests():
    mix = RequestMix((RequestClass("small", 90, 10, weight=Decimal(3)), RequestClass("large", 900, 100)))

    assert mix.tokens_per_request == 325
    assert mix.output_per_request == Decimal("32.5")
    assert mix.requests_monthly(65_000_000) == 200_000
    assert mix.tokens_monthly(Decimal(200_000)) == 65_000_000


def test_a_resident_prefix_spares_the_box_its_prefill_but_not_its_volume():
    request = RequestClass("agent", 2_000, 150, prefix_tokens=1_800, local=PrefixReuse(hit_rate=Decimal("0.5")))
    mix = RequestMix((request,))

    assert mix.local_prefill_per_request == 1_100
    assert mix.tokens_per_request == 2_150


def test_a_model_without_an_output_price_cannot_be_priced():
    assert cloud_price(RequestMix((RequestClass("chat", 10, 10),)), Rates(input=Rate(Decimal(1)))) is None


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("agent.weight", {"weight": Decimal(0)}),
        ("agent.batch_share", {"batch_share": Decimal("1.5")}),
        ("agent.prefix_tokens", {"prefix_tokens": 3_000}),
        ("agent.output_tokens", {"output_tokens": -1}),
    ],
)
def test_an_impossible_class_is_refused_by_name(key, fields):
    with pytest.raises(ScenarioError, match=key):
        RequestClass(**{"name": "agent", "input_tokens": 2_000, "output_tokens": 150} | fields)


@given(hit_rate=st.decimals(0, 1, places=3), prefix=st.integers(0, 10_000), output=st.integers(1, 5_000))
def test_the_price_of_a_mix_is_the_mean_of_its_calls(hit_rate, prefix, output):
    request = RequestClass("any", 10_000, output, prefix_tokens=prefix, cloud=PrefixReuse(hit_rate=hit_rate))
    hit = price_call(TokenCounts(uncached_input=10_000 - prefix, cache_read=prefix, output=output), SONNET)
    miss = price_call(TokenCounts(uncached_input=10_000, output=output), SONNET)

    expected = hit_rate * hit.total + (1 - hit_rate) * miss.total

    assert cloud_price(RequestMix((request,)), SONNET).usd_per_request == expected
