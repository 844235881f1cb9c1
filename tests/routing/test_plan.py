"""What the planner decides, rule by rule, and what holds of every plan."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.samples import FRONTIER, LOCAL, STATES, call, settings, task

from breakeven.errors import (
    BudgetExhausted,
    ContextExceeded,
    DataStays,
    EngineUnavailable,
    ModelNotFound,
    RequestError,
    Unsupported,
)
from breakeven.routing.plan import Plan, plan
from breakeven.routing.policy import strictest


def aliases(made: Plan) -> list[str]:
    return [attempt.alias for attempt in made.attempts]


def rules(made: Plan) -> dict[str, str]:
    return {one.alias: one.rule for one in made.set_aside}


def test_a_bulk_task_goes_to_the_box_first_and_then_to_the_frontier() -> None:
    made = plan(call("task:summarise"), settings(), STATES)

    assert aliases(made) == ["local", "frontier"]
    assert made.attempts[0].reason == "task summarise"
    assert made.gates.not_empty
    assert made.stream_mode == "buffer"


def test_without_a_frontier_a_bulk_task_has_the_box_alone() -> None:
    made = plan(call("task:tag"), settings(), [LOCAL])

    assert aliases(made) == ["local"]
    assert rules(made) == {"frontier": "existence"}


def test_auto_follows_the_policy_and_passes_streams_through() -> None:
    made = plan(call("auto"), settings(policy={"auto": ["frontier", "local"]}), STATES)

    assert aliases(made) == ["frontier", "local"]
    assert not made.gates.not_empty
    assert made.stream_mode == "pass"


def test_a_model_asked_for_by_name_is_asked_alone() -> None:
    assert aliases(plan(call("frontier"), settings(), STATES)) == ["frontier"]


@pytest.mark.parametrize(
    ("model", "tried"), [("auto", ["local", "frontier"]), ("local", ["local", "frontier"]), ("frontier", ["frontier"])]
)
def test_a_model_named_beside_a_task_enters_its_list(model: str, tried: list[str]) -> None:
    assert aliases(plan(call(model, task="summarise"), settings(), STATES)) == tried


def test_a_task_that_nobody_configured_is_a_label_and_no_more() -> None:
    made = plan(call("local", task="my-labels"), settings(), STATES)

    assert aliases(made) == ["local"]
    assert made.task == "my-labels"


@pytest.mark.parametrize(("model", "said"), [("task:nothing", "summarise"), ("gpt-2", "auto, frontier, local")])
def test_what_does_not_exist_is_refused_with_what_does(model: str, said: str) -> None:
    with pytest.raises(ModelNotFound, match=said):
        plan(call(model), settings(), STATES)


def test_a_task_asked_for_as_a_model_does_not_replace_the_one_that_a_key_or_header_names() -> None:
    private = settings(tasks={"payroll": {"data": "local_only"}, "extract": {"data": "shareable"}})

    with pytest.raises(RequestError, match="payroll"):
        plan(call("task:extract", task="payroll"), private, STATES)
    assert plan(call("task:payroll", task="payroll"), private, STATES).label == "local_only"


def test_local_only_sets_every_remote_aside_first_of_all() -> None:
    made = plan(call("task:summarise", label="local_only"), settings(), STATES)

    assert aliases(made) == ["local"]
    assert rules(made) == {"frontier": "data"}


def test_a_tasks_own_label_binds_even_when_the_call_says_otherwise() -> None:
    made = plan(call("task:work", label="shareable"), task(data="local_only"), STATES)

    assert aliases(made) == ["local"]
    assert made.label_source == "tasks.work.data"


def test_a_task_labels_what_nobody_else_has_labelled() -> None:
    undeclared = msgspec.structs.replace(call("task:work", label="local_only"), label_source="policy.default_data")

    assert aliases(plan(undeclared, task(data="shareable"), STATES)) == ["local", "frontier"]


def test_the_strictest_word_about_the_data_holds() -> None:
    assert strictest({"the call": "shareable", "key k": "local_only"}, "shareable") == ("local_only", "key k")
    assert strictest({"the call": "shareable", "key k": None}, "local_only") == ("shareable", "the call")


@pytest.mark.parametrize(
    ("demand", "trains", "retains", "tried"),
    [
        ("any", True, True, ["frontier"]),
        ("no_training", True, True, []),
        ("no_training", False, True, ["frontier"]),
        ("zero_retention", False, True, []),
        ("zero_retention", False, False, ["frontier"]),
    ],
)
def test_a_provider_sees_data_only_on_the_terms_that_policy_demands(
    demand: str, trains: bool, retains: bool, tried: list[str]
) -> None:
    state = replace(FRONTIER, trains=trains, retains=retains)

    assert aliases(plan(call("frontier"), settings(policy={"share_with": demand}), [state])) == tried


def test_a_model_known_to_lack_a_capability_is_set_aside_and_an_unknown_one_is_asked() -> None:
    blind = replace(LOCAL, capabilities=frozenset({"tools"}))

    made = plan(call("auto", needs=frozenset({"vision"})), settings(), [blind, FRONTIER])

    assert aliases(made) == ["frontier"]
    assert rules(made) == {"local": "capability"}


def test_a_prompt_that_cannot_fit_sets_aside_and_one_that_may_not_fit_yields() -> None:
    cannot = plan(call("auto", prompt_bytes=8192 * 16 + 1), settings(), STATES)
    may_not = plan(call("auto", prompt_tokens_estimate=8100, max_output_tokens=500), settings(), STATES)

    assert rules(cannot) == {"local": "context"}
    assert aliases(may_not) == ["frontier", "local"]


def test_a_generous_output_limit_alone_does_not_chase_a_call_to_the_cloud() -> None:
    assert aliases(plan(call("auto", max_output_tokens=32_000), settings(), STATES)) == ["local", "frontier"]


def test_an_open_breaker_sets_aside_and_a_half_open_one_yields() -> None:
    assert aliases(plan(call(), settings(), [replace(LOCAL, breaker="open"), FRONTIER])) == ["frontier"]
    assert aliases(plan(call(), settings(), [replace(LOCAL, breaker="half_open"), FRONTIER])) == ["frontier", "local"]


def test_a_target_that_would_miss_the_deadline_yields_but_stays() -> None:
    slow = replace(LOCAL, wait_seconds=90.0)

    made = plan(call("auto", deadline_seconds=30), settings(), [slow, FRONTIER])

    assert aliases(made) == ["frontier", "local"]
    assert "predicted 90 s, the deadline is 30 s" in made.attempts[0].reason


def test_the_least_deadline_of_call_task_and_policy_holds() -> None:
    configured = settings(policy={"deadline_seconds": 60}, tasks={"work": {"deadline_seconds": 20}})

    assert plan(call("task:work", deadline_seconds=40), configured, STATES).deadline_seconds == 20
    assert plan(call("local"), configured, STATES).deadline_seconds == 60
    assert plan(call("local"), settings(), STATES).deadline_seconds is None


def test_a_task_waits_for_the_box_only_so_long() -> None:
    patient, impatient = task(max_wait_seconds=100), task(max_wait_seconds=50)
    busy = replace(LOCAL, wait_seconds=90.0)

    assert aliases(plan(call("task:work"), patient, [busy, FRONTIER])) == ["local", "frontier"]
    assert aliases(plan(call("task:work"), impatient, [busy, FRONTIER])) == ["frontier", "local"]


@pytest.mark.parametrize(("per_hour", "first"), [("0", "local"), ("3.59", "local"), ("3.61", "frontier")])
def test_time_saved_is_weighed_against_the_dollars_it_adds(per_hour: str, first: str) -> None:
    # The frontier saves 10 s and adds a cent: worth it from $3.60 an hour.
    box, cloud = replace(LOCAL, wait_seconds=12.0, expected_usd=Decimal(0)), replace(FRONTIER, wait_seconds=2.0)

    made = plan(call("task:work"), task(waiting_usd_per_hour=per_hour), [box, cloud])

    assert aliases(made)[0] == first


def test_an_unknown_wait_or_price_leaves_the_order_of_the_list() -> None:
    dear_time = task(waiting_usd_per_hour=1000)

    assert aliases(plan(call("task:work"), dear_time, [replace(LOCAL, wait_seconds=None), FRONTIER]))[0] == "local"
    assert aliases(plan(call("task:work"), dear_time, [LOCAL, replace(FRONTIER, expected_usd=None)]))[0] == "local"


@pytest.mark.parametrize("expected", [None, Decimal("0.02")])
def test_a_task_pays_no_more_than_it_says_and_nothing_unknown(expected: Decimal | None) -> None:
    made = plan(call("task:work"), task(max_usd_per_call="0.01"), [LOCAL, replace(FRONTIER, expected_usd=expected)])

    assert rules(made) == {"frontier": "price"}


def test_a_spent_budget_leaves_the_box() -> None:
    made = plan(call(), settings(), [LOCAL, replace(FRONTIER, budget_left_usd=Decimal("0.001"))])

    assert aliases(made) == ["local"]
    assert rules(made) == {"frontier": "budget"}


@pytest.mark.parametrize(
    ("states", "given", "error", "said"),
    [
        ([FRONTIER], {"label": "local_only"}, DataStays, "frontier: claude is outside this machine"),
        ([replace(LOCAL, ready=False, note="gone")], {}, EngineUnavailable, "local: gone"),
        ([replace(LOCAL, ready=False), FRONTIER], {"label": "local_only"}, EngineUnavailable, "frontier: claude"),
        ([replace(FRONTIER, budget_left_usd=Decimal(0))], {}, BudgetExhausted, "left"),
        ([LOCAL], {"prompt_bytes": 10**6}, ContextExceeded, "1,000,000 bytes"),
        ([LOCAL, FRONTIER], {"prompt_bytes": 10**6, "label": "local_only"}, DataStays, "1,000,000 bytes"),
        ([replace(LOCAL, capabilities=frozenset())], {"needs": frozenset({"tools"})}, Unsupported, "cannot do tools"),
        ([], {}, ModelNotFound, "no such model"),
    ],
)
def test_when_nobody_is_left_the_error_fits_and_names_each(
    states: list[Any], given: dict[str, Any], error: type[Exception], said: str
) -> None:
    refusal = plan(call("auto", **given), settings(), states).refusal()

    assert type(refusal) is error
    assert said in str(refusal)
    assert "local: " in str(refusal)


def test_there_is_no_refusal_while_somebody_is_left() -> None:
    assert plan(call(), settings(), STATES).refusal() is None


waits = st.none() | st.floats(0, 1e4)
dollars = st.none() | st.decimals(0, 10, places=6)
states = st.builds(
    replace,
    st.sampled_from(STATES),
    locality=st.sampled_from(["local", "remote"]),
    context=st.none() | st.integers(1, 10**6),
    capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "vision"])),
    breaker=st.sampled_from(["closed", "open", "half_open"]),
    wait_seconds=waits,
    expected_usd=dollars,
    budget_left_usd=dollars,
    ready=st.booleans(),
    retains=st.booleans(),
    trains=st.booleans(),
)
pools = st.lists(states, min_size=1, max_size=6).map(
    lambda pool: [replace(state, alias=f"m{number}") for number, state in enumerate(pool)]
)
tasks = st.fixed_dictionaries(
    {"models": st.permutations([f"m{number}" for number in range(6)])},
    optional={
        "data": st.sampled_from(["local_only", "shareable"]),
        "deadline_seconds": st.floats(1, 1e4),
        "max_wait_seconds": st.floats(0, 1e4),
        "waiting_usd_per_hour": st.decimals(0, 1000, places=2),
        "max_usd_per_call": st.decimals(0, 10, places=4),
    },
)
calls = st.builds(
    call,
    st.sampled_from(["auto", "m0"]),
    task=st.none() | st.just("work"),
    label=st.sampled_from(["local_only", "shareable"]),
    prompt_tokens_estimate=st.integers(0, 10**6),
    prompt_bytes=st.integers(0, 10**7),
    max_output_tokens=st.none() | st.integers(1, 10**5),
    needs=st.frozensets(st.sampled_from(["tools", "vision"])),
    deadline_seconds=st.none() | st.floats(1, 1e4),
)
policies = st.fixed_dictionaries(
    {"auto": st.permutations([f"m{number}" for number in range(6)])},
    optional={"share_with": st.sampled_from(["any", "no_training", "zero_retention"])},
)


@given(calls, tasks, policies, pools)
def test_local_only_data_never_meets_a_remote_target(facts: Any, work: Any, policy: Any, pool: Any) -> None:
    made = plan(facts, settings(tasks={"work": work}, policy=policy), pool)

    if made.label == "local_only":
        assert all(attempt.locality == "local" for attempt in made.attempts)
    if facts.label == "local_only":
        assert made.label == "local_only"
    remote = {state.alias for state in pool if state.locality == "remote"}
    assert all((attempt.locality == "remote") == (attempt.alias in remote) for attempt in made.attempts)


@given(calls, tasks, policies, pools, st.randoms(use_true_random=False))
def test_a_plan_depends_on_the_facts_alone(facts: Any, work: Any, policy: Any, pool: Any, random: Any) -> None:
    configured = settings(tasks={"work": work}, policy=policy)
    shuffled = random.sample(pool, len(pool))

    assert plan(facts, configured, pool) == plan(facts, configured, shuffled)


@given(calls, tasks, policies, pools)
def test_each_candidate_is_tried_once_or_set_aside_once(facts: Any, work: Any, policy: Any, pool: Any) -> None:
    made = plan(facts, settings(tasks={"work": work}, policy=policy), pool)
    accounted = [*aliases(made), *(one.alias for one in made.set_aside)]

    assert len(accounted) == len(set(accounted))
    assert all(one.reason for one in (*made.attempts, *made.set_aside))
    assert (made.refusal() is None) == bool(made.attempts)


@given(calls, tasks, policies, pools, st.data())
def test_a_longer_wait_never_brings_a_target_forward(facts: Any, work: Any, policy: Any, pool: Any, data: Any) -> None:
    configured = settings(tasks={"work": work}, policy=policy)
    before = aliases(plan(facts, configured, pool))
    chosen = data.draw(st.integers(0, len(pool) - 1))
    if pool[chosen].wait_seconds is None or pool[chosen].alias not in before:
        return
    slower = list(pool)
    slower[chosen] = replace(pool[chosen], wait_seconds=pool[chosen].wait_seconds + data.draw(st.floats(0, 1e4)))

    after = aliases(plan(facts, configured, slower))

    alias = pool[chosen].alias
    assert set(after) == set(before)
    assert before[0] == alias or after[0] != alias


@given(calls, tasks, policies, pools, st.decimals(0, 10, places=6))
def test_a_larger_budget_never_takes_a_target_away(
    facts: Any, work: Any, policy: Any, pool: Any, more: Decimal
) -> None:
    configured = settings(tasks={"work": work}, policy=policy)
    richer = [
        state if state.budget_left_usd is None else replace(state, budget_left_usd=state.budget_left_usd + more)
        for state in pool
    ]

    assert set(aliases(plan(facts, configured, pool))) <= set(aliases(plan(facts, configured, richer)))
