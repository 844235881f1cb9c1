"""The plan on what was really used: call by call where calls are known, within sound bounds where only sums are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.samples import DAY, NOVEMBER, call, local_attempt, remote_attempt
from tests.planning.conftest import ON, ROWS, FixedPrices

from breakeven.config import LedgerSettings
from breakeven.economics.bulk import TokenColumns
from breakeven.economics.rates import price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.economics.verdict import VerdictKind
from breakeven.ledger.records import UsageBucket
from breakeven.ledger.store import Store
from breakeven.planning.scenario import Scenario, parse
from breakeven.planning.trace import Trace
from breakeven.planning.trace_document import trace_document
from breakeven.planning.trace_plan import TracePlan, plan_volume
from breakeven.planning.volume import Volume, volume_of

M3 = parse({"box": {"machine": "m3-ultra-256"}})
HAIKU = ROWS["anthropic/claude-haiku-5-5"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(LedgerSettings(), tmp_path)
    yield store
    store.close()


def counts(number: int = 400, *, seed: int = 1, cache_known: bool = True) -> list[TokenCounts]:
    rng = random.Random(seed)
    return [
        TokenCounts(rng.randint(100, 3000), cache_read=rng.choice([0, 2000]), output=rng.randint(10, 300))
        if cache_known
        else TokenCounts(rng.randint(100, 3000), output=rng.randint(10, 300), cache_known=False)
        for _ in range(number)
    ]


def volume(each: list[TokenCounts], days: float = 10.0, buckets: tuple[UsageBucket, ...] = ()) -> Volume:
    at = [n * days * DAY / max(1, len(each) - 1) for n in range(len(each))]
    parts = Trace("the ledger", "usage", np.array(at), TokenColumns.of(each), seconds=days * DAY)
    return Volume(parts, buckets)


def bucket(tokens: TokenCounts | None, requests: int | None = 50, **changes: object) -> UsageBucket:
    fields = {
        "origin": "import:openai",
        "provider": "openai",
        "model": "gpt-6",
        "start": NOVEMBER,
        "end": NOVEMBER + DAY,
    }
    return UsageBucket(**fields | {"tokens": tokens, "requests": requests} | changes)  # type: ignore[arg-type]


def planned(what: Volume, scenario: Scenario = M3) -> TracePlan:
    return plan_volume(what, scenario, FixedPrices(), ON)


def test_calls_of_the_ledger_come_in_order_by_the_answer_that_was_kept(ledger: Store) -> None:
    kept = TokenCounts(uncached_input=700, output=30)
    ledger.insert(
        [
            call("later", remote_attempt(tokens=kept), at=NOVEMBER + 60),
            call("first", local_attempt(), remote_attempt(2, tokens=kept), at=NOVEMBER),
            call("cut", remote_attempt(tokens=None, outcome="cut", counted_by="nobody"), at=NOVEMBER + 90),
        ]
    )
    found = volume_of("the ledger", ledger.usage(NOVEMBER, NOVEMBER + DAY), ())

    assert found is not None
    assert (found.trace.at.tolist(), list(found.trace.tokens.counts())) == ([0, 60], [kept, kept])
    assert (found.trace.uncounted, found.seconds) == (1, 60)


def test_where_nothing_was_used_there_is_no_volume(ledger: Store) -> None:
    assert volume_of("the ledger", ledger.usage(NOVEMBER, NOVEMBER + DAY), ()) is None
    money_alone = bucket(None)
    assert volume_of("the ledger", (), (money_alone,)) is None


def test_a_period_without_calls_at_its_ends_was_observed_as_well(ledger: Store) -> None:
    ledger.insert(
        [call("one", remote_attempt(), at=NOVEMBER + DAY), call("two", remote_attempt(), at=NOVEMBER + 2 * DAY)]
    )
    parts = list(ledger.usage(NOVEMBER, NOVEMBER + 30 * DAY))
    between = volume_of("the ledger", parts, ())
    observed = volume_of("the ledger", parts, (), observed=(NOVEMBER, NOVEMBER + 10 * DAY))

    assert between is not None
    assert observed is not None
    assert (between.seconds, observed.seconds) == (DAY, 10 * DAY)
    assert observed.trace.at.tolist() == [DAY, 2 * DAY]
    assert observed.tokens_monthly < between.tokens_monthly


def test_each_model_is_priced_call_by_call_with_its_cached_tokens() -> None:
    each = counts()
    clouds = {cloud.name: cloud for cloud in planned(volume(each)).clouds}

    for name in (
        "anthropic/claude-sonnet-5-5",
        "anthropic/claude-haiku-5-5",
        "novita/meta-llama/llama-3.3-70b-instruct",
    ):
        prices = [price_call(one, ROWS[name]) for one in each]
        assert clouds[name].usd == sum((price.total for price in prices if price is not None), Decimal(0))
        assert clouds[name].usd_least == clouds[name].usd_most == clouds[name].usd


def test_the_plan_is_for_the_mix_that_was_counted() -> None:
    each = counts()
    made = planned(volume(each))
    (plan,) = made.plans

    assert plan.tokens_monthly == round(sum(one.total for one in each) * Decimal(2_628_000) / (10 * 86_400))
    assert plan.frontier.model.usd_per_million is not None
    assert plan.frontier.usd_monthly is not None
    assert made.clouds[0].usd_monthly is not None
    assert abs(plan.frontier.usd_monthly - made.clouds[0].usd_monthly) < Decimal("0.001")
    assert plan.local is not None
    assert made.machines[0].usd_monthly is not None
    assert plan.verdict.local_usd_monthly is not None
    assert abs(plan.verdict.local_usd_monthly - made.machines[0].usd_monthly) < Decimal("0.001")
    assert any(assumption.source == "counted: the ledger" for assumption in plan.assumptions)


def test_more_of_the_same_calls_win_where_the_intervals_say_so() -> None:
    first = planned(volume(counts())).plans[0]
    assert first.verdict.kind is VerdictKind.CLOUD_WINS
    assert first.frontier.intervals is not None
    wanted = first.frontier.intervals.intervals[0].first
    assert first.tokens_monthly is not None
    times = wanted // first.tokens_monthly + 1
    owned = parse(
        {
            "box": {"machine": "m3-ultra-256"},
            "cloud": {"hosted": "none", "small": "none", "price_decay_yearly": [0, 0, 0]},
        }
    )
    scaled = plan_volume(volume(counts() * times), owned, FixedPrices(), ON).plans[0]

    assert scaled.verdict.frontier_usd_monthly is not None
    assert scaled.verdict.local_usd_monthly is not None
    assert scaled.verdict.local_usd_monthly < scaled.verdict.frontier_usd_monthly


@pytest.mark.parametrize(("number", "days", "why"), [(20, 30.0, "too few"), (400, 2.0, "2.0 days")])
def test_too_little_is_not_enough_evidence_and_the_figures_follow(number: int, days: float, why: str) -> None:
    verdict = planned(volume(counts(number), days)).plans[0].verdict

    assert verdict.kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert why in verdict.sentence
    assert "If it went on like this: The cloud wins" in verdict.sentence


def test_where_nobody_said_what_was_cached_none_is_counted_on_either_side_and_the_bounds_are_given() -> None:
    untold, told = (planned(volume(counts(cache_known=known))) for known in (False, True))
    sonnet = untold.clouds[0]

    assert sonnet.usd_open_least is not None
    assert sonnet.usd_open_most is not None
    assert sonnet.usd is not None
    assert sonnet.usd_open_least < sonnet.usd < sonnet.usd_open_most
    assert any("does not say what was cached" in caveat for caveat in untold.plans[0].verdict.caveats)
    assert not any("cached" in caveat for caveat in told.plans[0].verdict.caveats)


def test_sums_cost_a_range_take_the_boxs_time_and_say_nothing_of_waits() -> None:
    summed = bucket(TokenCounts(uncached_input=3_000_000, output=50_000), requests=1500, end=NOVEMBER + 10 * DAY)
    alone = planned(Volume(volume([], 10.0).trace, (summed,)))
    haiku = next(cloud for cloud in alone.clouds if cloud.name == "anthropic/claude-haiku-5-5")

    assert (haiku.usd_least, haiku.usd_most) == (Decimal("0.325"), Decimal("1.625"))
    assert alone.machines[0].busy_boxes is not None
    assert alone.machines[0].busy_boxes > 0
    assert alone.machines[0].by_wait is None
    assert any("waits are unknown" in caveat for caveat in alone.plans[0].verdict.caveats)
    assert trace_document(alone)["sums"]["tokens"] == 3_050_000


def test_where_the_range_of_sums_decides_there_is_no_verdict() -> None:
    cheap = parse(
        {
            "box": {"machine": "m3-ultra-256"},
            "cloud": {"frontier": "anthropic/claude-haiku-5-5", "small": "none", "hosted": "none"},
        }
    )
    big = bucket(TokenCounts(uncached_input=900_000_000, output=3_000_000), requests=9500, end=NOVEMBER + 30 * DAY)
    roomy = cheap.model_copy(update={"box": cheap.box.model_copy(update={"count": 100, "purchase_usd": Decimal(100)})})
    verdict = planned(Volume(volume([], 30.0).trace, (big,)), roomy).plans[0].verdict

    assert verdict.kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert "known as sums only would cost $91.50 to $457.50" in verdict.sentence


def test_sums_that_do_not_tell_their_requests_are_taken_for_requests_of_the_scenarios_size() -> None:
    untold = Volume(volume([], 10.0).trace, (bucket(TokenCounts(uncached_input=2_000_000, output=150_000), None),))
    made = planned(untold)

    assert made.volume.requests == 1000
    assert any("2,150 tokens each are assumed" in caveat for caveat in made.plans[0].verdict.caveats)


calls = st.builds(
    TokenCounts,
    uncached_input=st.integers(0, 150_000),
    cache_read=st.integers(0, 50_000),
    output=st.integers(1, 2000),
)


@given(st.lists(calls, min_size=1, max_size=6), st.lists(calls, min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_what_the_calls_behind_a_sum_cost_lies_within_its_range(
    single: list[TokenCounts], hidden: list[TokenCounts]
) -> None:
    summed = sum(hidden[1:], hidden[0])
    made = planned(volume(single, 10.0, (bucket(summed, requests=len(hidden)),)))
    haiku = next(cloud for cloud in made.clouds if cloud.name == "anthropic/claude-haiku-5-5")
    real = [price_call(one, HAIKU) for one in single + hidden]
    total = sum((price.total for price in real if price is not None), Decimal(0))

    assert haiku.usd_least is not None
    assert haiku.usd_most is not None
    assert haiku.usd_least <= total <= haiku.usd_most


def test_a_box_that_the_scenario_describes_itself_needs_no_machine() -> None:
    own = parse(
        {
            "box": {"purchase_usd": "3000", "idle_watts": "40", "load_watts": "300"},
            "serving": {"prefill_tokens_per_second": 500, "decode_tokens_per_second": 25},
        }
    )
    made = planned(volume(counts()), own)

    assert [case.name for case in made.machines] == ["your box"]
    assert made.plans[0].verdict.local_usd_monthly is not None


def test_a_machine_whose_speed_nobody_knows_gives_no_verdict() -> None:
    made = planned(volume(counts()), parse({"box": {"machine": "dgx-spark"}}))

    assert made.plans[0].verdict.kind is VerdictKind.NOT_ENOUGH_EVIDENCE
    assert "the box's speed" in made.plans[0].verdict.sentence


def test_a_count_beyond_any_models_reach_is_left_out_and_said(ledger: Store) -> None:
    sound, absurd = TokenCounts(uncached_input=100, output=10), TokenCounts(uncached_input=10**12)
    ledger.insert([call("a", remote_attempt(tokens=sound)), call("b", remote_attempt(tokens=absurd), at=NOVEMBER + 1)])
    found = volume_of("the ledger", ledger.usage(NOVEMBER, NOVEMBER + DAY), ())

    assert found is not None
    assert (len(found.trace), found.trace.uncounted) == (1, 1)
    assert any("left out" in caveat for caveat in planned(found).plans[0].verdict.caveats)


def test_a_sum_of_few_enormous_requests_is_answered_all_the_same() -> None:
    made = planned(Volume(volume([], 10.0).trace, (bucket(TokenCounts(uncached_input=10**12), requests=1),)))

    assert made.plans[0].scenario.workload.input_tokens == 10_000_000
    assert made.clouds[0].usd == Decimal(2_000_000)


def test_slots_share_the_decoding_so_that_the_same_calls_keep_fewer_boxes_busy() -> None:
    alone, shared = (
        planned(volume(counts()), parse({"box": {"machine": "m3-ultra-256"}, "serving": {"slots": slots}})).machines[0]
        for slots in (1, 4)
    )

    assert alone.busy_boxes is not None
    assert shared.busy_boxes is not None
    assert shared.busy_boxes < alone.busy_boxes
