"""Each verdict, from figures to its one sentence."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.assumptions import Assumption
from breakeven.economics.curve import LocalCurve
from breakeven.economics.verdict import CloudOption, Question, VerdictKind, decide
from breakeven.errors import ScenarioError

STUDIO = LocalCurve(
    box_usd_monthly=Decimal("167.78"), usd_per_million=Decimal("0.109"), capacity_tokens=110_000_000, max_boxes=1
)
SEED = Question(
    tokens_monthly=65_000_000,
    local=STUDIO,
    purchase_usd=Decimal(6000),
    frontier=CloudOption("Sonnet", Decimal(3)),
    quality_measured=True,
)
HOSTED = CloudOption("Llama 3.3 70B at a host", Decimal("0.60"))
SMALL = CloudOption("Haiku", Decimal("0.119"))


def test_local_wins_from_x_to_y():
    verdict = decide(SEED)

    assert verdict.kind is VerdictKind.LOCAL_WINS
    assert verdict.sentence == (
        "Local wins from 58.0 M to 110.0 M tokens a month against Sonnet: at 65.0 M the box costs $174.86 a month,"
        " Sonnet $195.00."
    )


def test_the_cloud_wins_below_the_first_interval():
    verdict = decide(replace(SEED, tokens_monthly=20_000_000))

    assert verdict.kind is VerdictKind.CLOUD_WINS
    assert verdict.sentence.endswith("local wins from 58.0 M to 110.0 M tokens a month.")


def test_infeasible_names_how_many_boxes_it_takes():
    verdict = decide(replace(SEED, tokens_monthly=300_000_000))

    assert verdict.kind is VerdictKind.INFEASIBLE
    assert "need 3 boxes, not 1" in verdict.sentence
    assert verdict.local_usd_monthly is None


def test_waiting_time_or_memory_can_ask_for_more_boxes_than_capacity_does():
    verdict = decide(replace(SEED, boxes_needed=17))

    assert verdict.kind is VerdictKind.INFEASIBLE
    assert "need 17 boxes" in verdict.sentence
    assert any("ranges of volume go by capacity alone" in caveat for caveat in verdict.caveats)


def test_the_same_model_hosted_by_others_is_never_beaten_for_the_box_is_full_too_soon():
    verdict = decide(replace(SEED, hosted_same_model=HOSTED))

    assert verdict.kind is VerdictKind.HOSTED_SAME_MODEL_WINS
    assert verdict.sentence.startswith("Local wins only against Sonnet")
    assert "would have to serve 341.7 M tokens a month and is full at 110.0 M" in verdict.sentence


def test_a_small_frontier_model_wins_on_price_and_leaves_local_its_other_reasons():
    verdict = decide(replace(SEED, small_frontier=SMALL))

    assert verdict.kind is VerdictKind.SMALL_FRONTIER_WINS
    assert "data that stays, no rate limits and free iteration" in verdict.sentence


def test_electricity_alone_can_cost_more_than_a_small_frontier_model():
    verdict = decide(replace(SEED, small_frontier=CloudOption("Luna", Decimal("0.10"))))

    assert "electricity alone costs $0.11 a million tokens, that model $0.10" in verdict.sentence


def test_a_box_already_owned_is_judged_by_marginal_cost():
    owned = replace(SEED, purchase_usd=Decimal(0), local=replace(STUDIO, box_usd_monthly=Decimal("1.12")))

    dear = decide(replace(owned, small_frontier=CloudOption("Luna", Decimal("0.10"))))

    assert decide(owned).kind is VerdictKind.ALREADY_OWNED
    assert "cost $0.11 at home, less than the $3.00 of Sonnet" in decide(owned).sentence
    assert "no less than the $0.10 of Luna" in dear.sentence


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"tokens_monthly": None}, "the monthly volume is unknown"),
        ({"local": None}, "the box's speed is unknown"),
        (
            {"frontier": CloudOption("Sonnet", None), "local": None},
            "the box's speed and the price of Sonnet are unknown",
        ),
    ],
)
def test_what_is_unknown_is_named_and_nothing_is_decided(missing, named):
    verdict = decide(replace(SEED, **missing))

    assert verdict.kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert named in verdict.sentence


def test_draws_too_close_to_even_decide_nothing():
    assert decide(replace(SEED, probability_local_wins=0.55)).kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert decide(replace(SEED, probability_local_wins=0.9)).kind is VerdictKind.LOCAL_WINS


def test_draws_against_what_todays_prices_say_decide_nothing():
    falling = decide(replace(SEED, probability_local_wins=0.05))
    rising = decide(replace(SEED, tokens_monthly=20_000_000, probability_local_wins=0.9))

    assert falling.kind is rising.kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert "but over its term local wins in 5% of the draws" in falling.sentence


def test_what_was_not_compared_or_measured_is_said():
    verdict = decide(replace(SEED, quality_measured=False, small_frontier=CloudOption("Luna", None)))

    assert len(verdict.caveats) == 3
    assert decide(replace(SEED, hosted_same_model=replace(HOSTED, usd_per_million=Decimal(9)))).caveats == ()


def test_the_verdict_carries_its_assumptions():
    term = Assumption("term", 36, "months")

    assert decide(replace(SEED, assumptions=(term,))).assumptions == (term,)
    assert decide(replace(SEED, assumptions=(term,), local=None)).assumptions == (term,)


@pytest.mark.parametrize(("key", "value"), [("tokens_monthly", -1), ("boxes", 0), ("probability_local_wins", 1.2)])
def test_an_impossible_question_is_refused_by_name(key, value):
    with pytest.raises(ScenarioError, match=key):
        replace(SEED, **{key: value})


@given(st.integers(0, 110_000_000), st.decimals("0.01", 20, places=2))
def test_local_wins_exactly_inside_its_intervals(volume, price):
    verdict = decide(replace(SEED, tokens_monthly=volume, frontier=CloudOption("any", price)))

    assert (verdict.kind is VerdictKind.LOCAL_WINS) == (volume in verdict.intervals)
