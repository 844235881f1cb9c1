"""Draws agree with the exact curve where nothing is uncertain, and say how sure the answer is where something is."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.curve import LocalCurve
from breakeven.economics.horizon import Purchase, monthly_decay
from breakeven.economics.local import BoxCost, modelled_watt_hours
from breakeven.economics.spread import Fixed, Normal, Triangular
from breakeven.economics.uncertainty import Certain, Uncertain, band, likelihood, local_usd_monthly
from breakeven.errors import ScenarioError

STUDIO = Certain(
    purchase_usd=6000,
    term_months=36,
    idle_watts=6,
    load_watts=145,
    prefill_per_request=2_000,
    prefix_per_request=1_800,
    output_per_request=100,
    cloud_usd_per_million=3,
)
KNOWN = Uncertain(
    prefill_tokens_per_second=Fixed(80),
    decode_tokens_per_second=Fixed(10),
    tokens_monthly=Fixed(80e6),
    price_decay_yearly=Fixed(0),
    resale_usd=Fixed(0),
    local_hit_rate=Fixed(0),
    usd_per_kwh=Fixed(0.17),
)
DOUBTED = Uncertain(
    prefill_tokens_per_second=Triangular(60, 80, 120),
    decode_tokens_per_second=Normal(10, 1, at_least=5),
    tokens_monthly=Triangular(30e6, 80e6, 150e6),
    price_decay_yearly=Triangular(0, 0.3, 0.6),
    resale_usd=Triangular(0, 1500, 3000),
    local_hit_rate=Triangular(0, 0.5, 0.9),
    usd_per_kwh=Normal(0.17, 0.03, at_least=0.05),
)


def rng():
    return np.random.default_rng(7)


@given(st.integers(0, 2_000_000_000))
def test_without_doubt_a_draw_is_the_exact_curve(volume):
    seconds = Decimal(2_000) / 80 + Decimal(100) / 10
    box = BoxCost(
        purchase_usd=Decimal(6000),
        term_months=36,
        idle_watts=Decimal(6),
        load_watts=Decimal(145),
        usd_per_kwh=Decimal("0.17"),
    )
    curve = LocalCurve(
        box_usd_monthly=box.amortisation_usd_monthly + box.idle_usd_monthly,
        usd_per_million=box.energy_usd(modelled_watt_hours(box, seconds * 1_000_000 / 2_100)),
        capacity_tokens=int(Decimal("0.7") * 730 * 3600 / seconds * 2_100),
    )
    values = {name: np.array([spread.central]) for name, spread in KNOWN.spreads().items()}
    values["tokens_monthly"] = np.array([float(volume)])

    assert local_usd_monthly(STUDIO, values)[0] == pytest.approx(float(curve.usd_monthly(volume)))


def test_without_doubt_the_probability_is_zero_or_one():
    assert likelihood(STUDIO, KNOWN, rng()).probability_local_wins == 1
    assert likelihood(replace(STUDIO, cloud_usd_per_million=0.6), KNOWN, rng()).probability_local_wins == 0
    assert likelihood(STUDIO, KNOWN, rng()).tornado == ()


@given(st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([0.0, 0.01]), st.integers(10, 110))
def test_local_wins_exactly_where_the_net_present_value_is_positive(decay, capital, million):
    certain = replace(STUDIO, capital_rate_monthly=capital)
    known = replace(KNOWN, price_decay_yearly=Fixed(decay), tokens_monthly=Fixed(million * 1e6))
    values = {name: np.array([spread.central]) for name, spread in known.spreads().items()}
    free = local_usd_monthly(replace(certain, purchase_usd=0), values)[0]
    purchase = Purchase(
        paid_usd=Decimal(6000),
        running_usd_monthly=Decimal(free),
        cloud_usd_monthly=Decimal(3 * million),
        term_months=36,
        price_decay_monthly=monthly_decay(Decimal(str(decay))),
        capital_rate_monthly=Decimal(str(capital)),
    )

    wins = likelihood(certain, known, rng(), draws=1).probability_local_wins == 1

    assert wins == (purchase.net_present_value_usd > 0)


def test_with_doubt_the_answer_says_how_sure_it_is():
    result = likelihood(STUDIO, DOUBTED, rng())

    assert result.draws == 10_000
    assert 0 < result.probability_local_wins < 1
    assert result.standard_error < 0.006
    assert result.saved_usd_low < result.saved_usd_median < result.saved_usd_high


def test_the_same_seed_gives_the_same_answer():
    assert likelihood(STUDIO, DOUBTED, rng()) == likelihood(STUDIO, DOUBTED, rng())


def test_the_tornado_puts_what_moves_the_saving_most_first_and_names_it():
    tornado = likelihood(STUDIO, DOUBTED, rng()).tornado

    assert [swing.span_usd for swing in tornado] == sorted((swing.span_usd for swing in tornado), reverse=True)
    decay = next(swing for swing in tornado if swing.name == "price_decay_yearly")
    assert (decay.label, decay.unit) == ("cloud price decay", "share/year")
    assert decay.saved_usd_at_high < decay.saved_usd_at_low
    assert len(tornado) == 7


def test_the_band_holds_the_median_at_every_volume():
    curves = band(STUDIO, DOUBTED, [0, 20e6, 80e6, 200e6], rng())

    assert np.all(curves.local_low <= curves.local_median)
    assert np.all(curves.local_median <= curves.local_high)
    assert np.all(curves.cloud_low <= curves.cloud_high)
    assert curves.cloud_high[0] == 0
    assert curves.local_low[0] > 0


@pytest.mark.parametrize("spread", [Triangular(1, 2, 5), Triangular(0, 0, 1), Normal(3, 1), Normal(2, 1.5, at_least=0)])
def test_quantiles_agree_with_draws(spread):
    draws = spread.sample(rng(), 200_000)

    for probability in (0.1, 0.5, 0.9):
        assert np.mean(draws <= spread.quantile(probability)) == pytest.approx(probability, abs=0.005)


@pytest.mark.parametrize(
    ("key", "spread"),
    [
        ("decode_tokens_per_second", Normal(10, 3)),
        ("local_hit_rate", Triangular(0.5, 0.9, 1.2)),
        ("price_decay_yearly", Fixed(1)),
        ("tokens_monthly", Fixed(-1)),
    ],
)
def test_a_spread_that_allows_the_impossible_is_refused_by_name(key, spread):
    with pytest.raises(ScenarioError, match=key):
        replace(KNOWN, **{key: spread})


def test_a_triangle_upside_down_is_refused():
    with pytest.raises(ScenarioError, match="triangular"):
        Triangular(3, 2, 1)


@pytest.mark.parametrize(("key", "value"), [("utilisation", 1.2), ("purchase_usd", float("nan")), ("term_months", 0)])
def test_an_impossible_certainty_is_refused_by_name(key, value):
    with pytest.raises(ScenarioError, match=key):
        replace(STUDIO, **{key: value})
