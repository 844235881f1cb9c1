"""The rules of the scheduler, over simulated engines and any order of arrivals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.box.recording import replay
from tests.box.simulation import BLOCK_TOKENS, DECODE, PREFILL, Simulation, Step, simulate

from breakeven.box.pool import EngineFacts, Measured, Pool
from breakeven.box.pool_state import Call, Copy, EngineView, Lease, PoolState, Priority, Slot
from breakeven.box.prefix import BLOCK_CHARACTERS, Prompt, common_blocks, prefix_of
from breakeven.box.scheduler import EndLease, Prefetch, Refuse, Rules, Start, decide, lease_after, next_look

ONE_SLOT = (EngineFacts("one", 1),)
RULES = Rules()

arrivals = st.lists(
    st.builds(
        Step,
        at=st.floats(0, 120),
        agent=st.sampled_from("abcde"),
        system_blocks=st.just(10),
        tail_blocks=st.integers(1, 4),
        output=st.integers(0, 100),
        steps=st.integers(1, 4),
        think=st.floats(0, 15),
        priority=st.sampled_from(Priority),
    ),
    min_size=1,
    max_size=25,
)
pools = st.sampled_from(
    [ONE_SLOT, (EngineFacts("one", 3),), (EngineFacts("one", 2), EngineFacts("two", 1, saves=True))]
)


def cold_seconds(call: Call) -> float:
    return call.prompt.tokens / PREFILL + call.output_tokens / DECODE


@given(arrivals, pools)
@settings(max_examples=60, deadline=None)
def test_whatever_the_order_of_arrivals_every_wait_is_bounded(steps: list[Step], pool: tuple[EngineFacts, ...]) -> None:
    served = simulate(steps, engines=pool, file_budget=10**9).served
    assert len(served) == sum(step.steps for step in steps)
    longest = max(cold_seconds(one.call) for one in served.values())
    for one in served.values():
        before = [s.call for s in served.values() if RULES.turn(s.call) <= RULES.turn(one.call) + RULES.window]
        own = RULES.handicaps[one.call.priority] + RULES.patience
        ahead = sum(cold_seconds(call) for call in before)
        switches = len(before) + 1
        assert one.waited <= own + ahead + switches * (RULES.run_seconds + longest) + 1


def test_an_endless_flow_of_better_placed_and_more_urgent_calls_cannot_starve_a_batch_call() -> None:
    rules = replace(RULES, handicaps={Priority.INTERACTIVE: 0, Priority.AGENT: 5, Priority.BATCH: 30}, patience=10)
    flood = [Step(at=0.5 * n, agent="a", priority=Priority.INTERACTIVE, output=30) for n in range(600)]
    patient = Step(at=1, agent="b", priority=Priority.BATCH)
    served = simulate([*flood, patient], rules=rules, engines=ONE_SLOT).served
    (batch,) = [one for one in served.values() if one.call.agent == "b"]
    ahead = sum(cold_seconds(one.call) for one in served.values() if one.call.arrived <= 31)
    assert batch.waited <= 30 + 10 + ahead


@given(arrivals, pools)
@settings(max_examples=40, deadline=None)
def test_the_same_events_give_the_same_decisions(steps: list[Step], pool: tuple[EngineFacts, ...]) -> None:
    once, again = (simulate(steps, engines=pool, file_budget=10**6).decisions for _ in range(2))
    assert once == again


@given(arrivals, pools)
@settings(max_examples=40, deadline=None)
def test_no_lease_outlives_its_time(steps: list[Step], pool: tuple[EngineFacts, ...]) -> None:
    run = simulate(steps, engines=pool)
    run.pool.decide(run.now + RULES.lease_seconds)
    assert not any(slot.lease or slot.call for slot in run.pool.state(run.now).slots)


@given(st.lists(st.tuples(st.floats(0, 60), st.sampled_from(Priority)), min_size=2, max_size=25))
@settings(max_examples=40, deadline=None)
def test_among_strangers_calls_go_by_turn(calls: list[tuple[float, Priority]]) -> None:
    steps = [Step(at=at, agent=str(n), priority=priority) for n, (at, priority) in enumerate(calls)]
    served = simulate(steps, engines=ONE_SLOT).served.values()
    for later in served:
        for sooner in served:
            if RULES.turn(sooner.call) + RULES.window < RULES.turn(later.call):
                assert sooner.started < later.started or sooner.call.arrived >= later.started


def test_interactive_goes_before_agents_and_agents_before_batch() -> None:
    order = [Priority.BATCH, Priority.AGENT, Priority.INTERACTIVE]
    steps = [Step(at=0.1 + n / 10, agent=str(n), priority=priority) for n, priority in enumerate(order)]
    assert simulate([Step(at=0, agent="x"), *steps], engines=ONE_SLOT).order() == "x210"


def test_calls_that_begin_alike_are_served_together() -> None:
    steps = [Step(at=n / 100, agent="ABC"[n % 3]) for n in range(12)]
    run = simulate(steps, engines=ONE_SLOT)
    assert run.order() == "AAAABBBBCCCC"
    assert run.computed == 3 * 20 * BLOCK_TOKENS + 12 * BLOCK_TOKENS


def test_fairness_ends_a_run_that_others_have_waited_for_too_long() -> None:
    rules = replace(RULES, patience=5, run_seconds=20, handicaps=dict.fromkeys(Priority, 0.0))
    steps = [Step(at=n, agent="A", output=50) for n in range(60)]
    served = simulate([*steps, Step(at=2, agent="B")], rules=rules, engines=ONE_SLOT).served
    (other,) = [one for one in served.values() if one.call.agent == "B"]
    assert 5 <= other.waited <= 25


def test_a_chains_next_step_finds_its_slot_again_though_others_wait() -> None:
    run = simulate([Step(at=0, agent=agent, steps=4) for agent in "ABC"], engines=ONE_SLOT)
    assert run.order() == "AAAABBBBCCCC"
    assert run.computed == 3 * (20 + 4) * BLOCK_TOKENS


def test_an_idle_slot_is_held_no_longer_than_computing_its_prompt_anew_would_take() -> None:
    rules = replace(RULES, tool_wait_seconds=9)
    steps = [Step(at=0, agent="A", steps=2, think=9.0, system_blocks=4), Step(at=0.1, agent="B")]
    served = simulate(steps, rules=rules, engines=ONE_SLOT).served
    (other,) = [one for one in served.values() if one.call.agent == "B"]
    first = min(served.values(), key=lambda one: one.started)
    anew = first.call.prompt.tokens / PREFILL
    assert other.started - first.ended == pytest.approx(anew)


def test_an_engine_that_keeps_what_leaves_its_slots_does_not_idle_for_a_chain_that_thinks() -> None:
    keeps = EngineFacts("one", 1, cache_bytes=10**9, kv_bytes_per_token=1000)
    steps = [Step(at=0, agent=agent, steps=4, think=0.8) for agent in "ABCD"]
    run = simulate(steps, engines=[keeps])
    assert run.computed == 4 * (20 + 4) * BLOCK_TOKENS  # nothing twice
    works = sum(one.ended - one.started for one in run.served.values())
    idles = max(one.ended for one in run.served.values()) - works
    assert idles < 0.8 + len(run.served) * 0.06  # while its last chain thinks, and a moment after each step
    prompt = simulate([replace(step, think=0.02) for step in steps], engines=[keeps])
    assert prompt.order() == "AAAABBBBCCCCDDDD"


def test_a_slot_is_held_for_a_chain_that_thinks_while_another_keeps_the_engine_at_work() -> None:
    keeps = EngineFacts("one", 2, cache_bytes=10**9, kv_bytes_per_token=1000)
    steps = [
        Step(at=0, agent="A", steps=3, think=0.3), Step(at=0, agent="long", output=1000), Step(at=0.1, agent="B"),
    ]  # fmt: skip
    run = simulate(steps, engines=[keeps])
    assert [one.call.agent for one in sorted(run.served.values(), key=lambda one: one.started)][2:] == ["A", "A", "B"]


def test_after_an_agents_usual_last_step_its_slot_is_free_at_once() -> None:
    wakes = [Step(at=60.0 * n, agent=agent, steps=3) for n in range(2) for agent in "AB"]
    run = simulate(wakes, engines=ONE_SLOT)
    second = [one for one in run.served.values() if one.call.arrived >= 60]
    first, other = (max((o for o in second if o.call.agent == a), key=lambda o: o.started) for a in "AB")
    begins = min(one.started for one in second if one.call.agent == other.call.agent)
    assert run.order() == "AAABBBAAABBB"
    assert begins == pytest.approx(first.ended)


def test_a_lease_yields_at_once_to_a_more_urgent_call() -> None:
    steps = [
        Step(at=0, agent="A", steps=2, think=5),
        Step(at=6.95, agent="B", priority=Priority.INTERACTIVE),
    ]
    run = simulate(steps, engines=ONE_SLOT)
    assert run.order() == "ABA"


def test_a_burst_with_a_common_beginning_computes_it_once() -> None:
    steps = [Step(at=0, agent="topics", system_blocks=40) for _ in range(40)]
    run = simulate(steps, engines=(EngineFacts("one", 2, saves=True),), file_budget=10**9)
    assert run.computed == (40 + 40) * BLOCK_TOKENS
    assert {one.slot for one in run.served.values()} == {0, 1}


def test_a_call_waits_for_the_busy_slot_with_its_beginning_rather_than_compute_it_beside_it() -> None:
    run = simulate([Step(at=0, agent="A"), Step(at=0.1, agent="A")])
    assert {one.slot for one in run.served.values()} == {0}


def test_the_slot_whose_agent_is_expected_last_is_taken() -> None:
    slots = (Slot("e", 0, (1,), 64, "soon"), Slot("e", 1, (2,), 64, "late"), Slot("e", 2, (3,), 64, "later"))
    wakes = {"soon": 10.0, "late": 100.0, "later": 200.0}
    state = PoolState({"e": EngineView("e")}, slots, (Call(1, "new", Prompt((9,), 64), 0.0),), wakes=wakes)
    (start,) = decide(state, 0.0, RULES)
    assert isinstance(start, Start)
    assert start.slot == 2


def test_what_would_be_lost_is_saved_first_and_restored_when_it_is_asked_for_again() -> None:
    tight = (EngineFacts("one", 1, saves=True, cache_bytes=0, kv_bytes_per_token=1000),)
    steps = [Step(at=100 * wake + n, agent=agent) for wake in range(3) for n, agent in enumerate("ABCD")]
    run = simulate(steps, engines=tight, file_budget=10**9)
    assert run.computed == 4 * 20 * BLOCK_TOKENS + 12 * BLOCK_TOKENS


def test_while_the_engines_own_cache_holds_everyone_nothing_is_written() -> None:
    roomy = (EngineFacts("one", 1, saves=True, cache_bytes=10**9, kv_bytes_per_token=1000),)
    steps = [Step(at=100 * wake + n, agent=agent) for wake in range(3) for n, agent in enumerate("ABCD")]
    run = simulate(steps, engines=roomy, file_budget=10**9)
    assert not [d for _, d in run.decisions if isinstance(d, Start) and d.save]


def test_over_the_budget_the_file_of_the_agent_expected_last_goes() -> None:
    files = tuple(Copy("e", (n,), agent, agent, 100, 0.01) for n, agent in enumerate(["soon", "never", "late"]))
    state = PoolState({"e": EngineView("e")}, copies=files, wakes={"soon": 5.0, "late": 50.0}, file_budget=150)
    assert [decision.copy.agent for decision in decide(state, 0.0, RULES)] == ["never", "late"]  # type: ignore[union-attr]


def test_an_expected_agent_is_restored_before_it_wakes() -> None:
    copy = Copy("e", (1, 2), "cron", "f", 10, 0.01)
    slots = (Slot("e", 0, (7,), 64, "soon"), Slot("e", 1, (8,), 64, "idle"))
    state = PoolState(
        {"e": EngineView("e")}, slots, copies=(copy,), wakes={"cron": 100.0, "soon": 99.0}, file_budget=10**9
    )
    assert decide(state, 60.0, RULES) == []
    assert next_look(state, 60.0, RULES) == 100.0 - RULES.prefetch_seconds
    assert decide(state, 75.0, RULES) == [Prefetch("e", 1, copy, save=None)]
    restored = replace(state, slots=(slots[0], Slot("e", 1, (1, 2), 128, "cron")))
    assert decide(restored, 75.0, RULES) == []
    in_memory = replace(copy, file=None)
    assert decide(replace(state, copies=(copy, in_memory)), 75.0, RULES) == []
    assert decide(replace(state, copies=(copy, replace(in_memory, engine="another"))), 75.0, RULES) != []


def test_agents_that_wake_in_turn_find_their_prompts_in_a_slot_before_they_call() -> None:
    tight = (EngineFacts("one", 2, saves=True, cache_bytes=0, kv_bytes_per_token=1000),)
    steps = [Step(at=600 * wake + 60 * n, agent=agent) for wake in range(5) for n, agent in enumerate("ABCDEF")]
    run = simulate(steps, engines=tight, file_budget=10**9)
    fetched = [at for at, d in run.decisions if isinstance(d, Prefetch)]
    late = [one for one in run.served.values() if one.call.arrived >= 1200]
    starts = {d.call: d for _, d in run.decisions if isinstance(d, Start)}
    for one in late:
        assert starts[one.call.id].restore is None  # it is there already
        assert one.computed == BLOCK_TOKENS  # all but the last words
    assert len(late) == 18
    fetched = [at for at in fetched if 1200 <= at < 2800]
    assert {one.call.arrived - RULES.prefetch_seconds for one in late}.issuperset(fetched)
    assert len(fetched) >= 12  # the others had never left


def test_an_agent_that_has_stopped_takes_no_slot_from_those_that_wake() -> None:
    tight = (EngineFacts("one", 1, saves=True, cache_bytes=0, kv_bytes_per_token=1000),)
    gone = [Step(at=600 * wake, agent="gone") for wake in range(3)]
    steps = [Step(at=600 * wake + 60, agent="a") for wake in range(20)]
    run = simulate([*gone, *steps], engines=tight, file_budget=10**9)
    assert max(at for at, d in run.decisions if isinstance(d, Prefetch) and d.copy.agent == "gone") < 600 * 6


def test_what_a_file_is_restored_over_is_saved_though_memory_would_keep_it() -> None:
    roomy = Pool(RULES, file_budget=10**9)
    roomy.engine_up(EngineFacts("one", 1, saves=True, cache_bytes=10**9, kv_bytes_per_token=1000))
    for number, agent, prefix in ((1, "a", (1, 2, 3, 4)), (2, "b", (5, 6, 7, 8))):
        roomy.arrive(Call(number, agent, Prompt(prefix, 256, 4), 100.0 * number), 100.0 * number)
        roomy.decide(100.0 * number)
        roomy.finish(number, 100.0 * number + 2, Measured(256, 0, 4, 1.0, 1.0))
        if agent == "a":
            roomy.saved(Copy("one", prefix, "a", "a.kv", 256_000, 0.001))
    roomy.arrive(Call(3, "a", Prompt((1, 2, 3, 4), 256, 4), 300.0), 300.0)
    (start,) = roomy.decide(300.0)
    assert isinstance(start, Start)
    assert start.restore is not None
    assert start.save is not None  # llama.cpp does not keep what a file is restored over
    assert start.save.agent == "b"
    assert not [copy for copy in roomy.state(301.0).copies if copy.file is None and copy.agent == "b"]


def test_a_lease_that_ends_makes_room_for_what_is_due() -> None:
    copy = Copy("e", (1, 2), "cron", "f", 10, 0.01)
    lease = Lease("c", Priority.AGENT, 70.0, 71.0, 80.0)
    state = PoolState(
        {"e": EngineView("e")}, (Slot("e", 0, (7,), 64, "x", lease=lease),), copies=(copy,), wakes={"cron": 100.0},
        file_budget=10**9,
    )  # fmt: skip
    assert decide(state, 75.0, RULES) == []
    assert decide(state, 80.0, RULES) == [EndLease("e", 0), Prefetch("e", 0, copy, save=None)]


def test_a_call_that_cannot_be_answered_in_time_is_refused_once_that_is_clear() -> None:
    state = PoolState(
        {"e": EngineView("e", prefill=100.0, decode=10.0)},
        (Slot("e", 0),),
        (Call(1, "a", Prompt((1,), 1000), 0.0, deadline=12.0, output_tokens=30),),
    )
    assert decide(state, 0.0, RULES) == [Refuse(1, pytest.approx(13.0), 12.0)]
    assert decide(replace(state, engines={"e": EngineView("e")}), 0.0, RULES) == [Start(1, "e", 0, None, None, 0)]


def test_a_pool_keeps_each_agent_on_its_engine() -> None:
    two = (EngineFacts("one", 1), EngineFacts("two", 1))
    steps = [Step(at=100 * wake + n * 0.1, agent=agent) for wake in range(4) for n, agent in enumerate("AB")]
    run = simulate(steps, engines=two)
    homes = {(one.call.agent, one.engine) for one in run.served.values()}
    assert len(homes) == 2
    assert run.computed == (2 * 20 + 8) * BLOCK_TOKENS


def test_when_an_engine_leaves_its_calls_move_and_when_it_returns_it_is_used() -> None:
    two = (EngineFacts("one", 1), EngineFacts("two", 1))
    run = Simulation(Pool(RULES), two)
    run.at(1.0, ("down", "one"))
    run.at(50.0, ("up", two[0]))
    steps = [Step(at=wake * 30.0 + n * 0.1, agent=agent) for wake in range(4) for n, agent in enumerate("AB")]
    run.run(steps)
    assert len(run.served) == 8
    assert {one.engine for one in run.served.values() if 1 < one.started < 50} == {"two"}
    assert "one" in {one.engine for one in run.served.values() if one.started > 50}


@given(arrivals, st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_no_more_calls_are_served_at_once_than_a_strained_machine_bears_and_all_are_served(
    steps: list[Step], most: int
) -> None:
    pool = Pool(RULES)
    pool.serve_at_once(most)
    served = Simulation(pool, (EngineFacts("one", 4),)).run(steps).served.values()
    assert len(served) == sum(step.steps for step in steps)
    for one in served:
        assert sum(other.started <= one.started < other.ended for other in served) <= most


def test_fewer_calls_at_once_are_in_the_forecast() -> None:
    pool = Pool(RULES)
    run = Simulation(pool, (EngineFacts("one", 3),)).run([Step(at=0, agent="A", output=50)])
    call = Call(99, "z", Prompt((5,), 400), run.now, output_tokens=50)
    for n in range(2):
        pool.arrive(replace(call, id=100 + n, prompt=Prompt((n + 20,), 400)), run.now)
    all_slots = pool.forecast(replace(call, id=200), run.now)
    pool.serve_at_once(1)
    one_slot = pool.forecast(replace(call, id=200), run.now)
    assert all_slots is not None
    assert one_slot is not None
    assert all_slots.wait == 0
    assert one_slot.wait == pytest.approx(2 * all_slots.total)


def test_leases_end_by_themselves() -> None:
    call = Call(1, "a", Prompt((1,), 64), 0.0, chain="c")
    lease = lease_after(call, 5.0, RULES, 0.2, last=False)
    assert lease == Lease("c", Priority.AGENT, 5.0, 5.4, 5.0 + RULES.lease_seconds)
    assert lease_after(replace(call, chain=None), 5.0, RULES, None, last=False) is None
    state = PoolState({"e": EngineView("e")}, (Slot("e", 0, lease=lease),))
    assert decide(state, 14.9, RULES) == []
    assert next_look(state, 14.9, RULES) == 15.0
    assert decide(state, 15.0, RULES) == [EndLease("e", 0)]


def test_a_forecast_counts_the_queue_and_is_unknown_before_anything_was_measured() -> None:
    pool = Pool(RULES)
    pool.engine_up(EngineFacts("one", 1))
    call = Call(99, "z", Prompt((5,), 400), 0.0, output_tokens=50)
    assert pool.forecast(call, 0.0) is None
    run = Simulation(pool, ()).run([Step(at=0, agent="A", output=50)])
    quiet = pool.forecast(replace(call, arrived=run.now), run.now)
    assert quiet is not None
    assert (quiet.wait, quiet.prefill, quiet.decode) == (0, pytest.approx(400 / PREFILL), pytest.approx(50 / DECODE))
    for n in range(3):
        pool.arrive(replace(call, id=100 + n, agent=f"q{n}", prompt=Prompt((n + 20,), 400), arrived=run.now), run.now)
    queued = pool.forecast(replace(call, id=200, arrived=run.now), run.now)
    assert queued is not None
    assert queued.wait == pytest.approx(3 * quiet.total)
    assert queued.total == pytest.approx(4 * quiet.total)


@given(st.text(max_size=2000), st.text(max_size=300), st.text(max_size=300))
def test_prompts_share_the_blocks_of_their_common_beginning(head: str, one: str, other: str) -> None:
    shared = common_blocks(prefix_of([head, one]), prefix_of([head, other]))
    whole = len(head) // BLOCK_CHARACTERS
    assert shared >= whole
    if one[:1] != other[:1]:
        assert shared == whole


def test_a_recorded_fleet_run_is_decided_again_as_it_was() -> None:
    events = msgspec.json.decode((Path(__file__).parent / "fleet_run.json").read_bytes())
    compared = replay(events)
    starts = [decision for decided, _ in compared for decision in decided if "reused" in decision]
    assert len(starts) == 18
    assert sum(start["save"] is not None for start in starts) == 3
    assert sum(start["restore"] is not None for start in starts) >= 3
    assert all(decided == again for decided, again in compared)
    cached = [event[1][2]["cached"] for event in events if event[0] == "finish"]
    assert sum(tokens > 100 for tokens in cached) == 18 - 3  # all but the first step of each cold chain
