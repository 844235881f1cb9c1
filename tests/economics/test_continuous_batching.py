import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakeven.economics.continuous_batching import BatchCall, common_prefix, serve_calls
from breakeven.economics.queueing import Arrivals, replay
from breakeven.economics.step_times import DecodeTime, PrefillTime, StepTimes
from breakeven.errors import ScenarioError

TIMES = StepTimes(
    tuple(PrefillTime(n, 0.01 * n) for n in (10, 1000)),  # 10 ms a prompt token
    tuple(DecodeTime(p, 100, 0.1 + 0.02 * (p - 1)) for p in (1, 2, 4)),  # 0.1 s a step, 0.02 s for each further answer
)


def prompt(name, tokens, shared=()):
    return (*shared, *(hash((name, i)) for i in range(tokens)))


def serve(*callers, slots=1, batch=512, **more):
    return serve_calls(callers, TIMES, slots=slots, batch_tokens=batch, **more)[0]


def test_a_call_alone_is_prefill_and_a_step_for_each_token_after_the_first():
    (call,) = serve([BatchCall(prompt("a", 100), 11)])

    assert call.first_token_at == pytest.approx(1.0)
    assert call.ended_at == pytest.approx(2.0)


def test_one_slot_serves_in_the_order_of_arrival():
    calls = serve([BatchCall(prompt("a", 100), 11)], [BatchCall(prompt("b", 100), 11)])

    assert [call.started_at for call in calls] == pytest.approx([0.0, 2.0])


def test_a_caller_sends_its_next_call_when_the_last_was_answered():
    calls = serve([BatchCall(prompt("a", 100), 11), BatchCall(prompt("b", 100), 11)])

    assert calls[1].sent_at == calls[0].ended_at


def test_prompts_are_computed_one_after_the_other_in_the_order_of_the_slots():
    calls = serve([BatchCall(prompt("a", 500), 1)], [BatchCall(prompt("b", 500), 1)], slots=2, batch=100)

    assert [call.first_token_at for call in calls] == pytest.approx([5.0, 10.0])


def test_an_answer_all_but_stands_still_while_a_prompt_is_computed():
    answer, late = BatchCall(prompt("a", 10), 21), BatchCall(prompt("b", 1000), 1)
    calls = serve([answer], [late], slots=2, batch=101, start_at=[0.0, 0.5])
    first = next(call for call in calls if call.caller == 0)

    # about 4 of its 20 steps are done when ten steps of a second each begin, and take it 10 tokens further
    assert first.ended_at == pytest.approx(0.1 + 20 * 0.1 + 10 * (1.0 + 0.1 - 0.1), abs=0.2)


def test_answers_at_once_share_the_steps():
    calls = serve(*([BatchCall(prompt(name, 10), 11)] for name in "abcd"), slots=4)
    last = max(call.ended_at for call in calls)

    assert last == pytest.approx(0.4 + 10 * 0.16)


def test_what_a_slot_holds_is_not_computed_again():
    system = prompt("system", 400)
    calls = serve([BatchCall(prompt(name, 100, system), 1) for name in "abc"])

    assert [call.computed_tokens for call in calls] == [500, 100, 100]


def test_one_token_is_computed_even_of_a_prompt_held_whole():
    call = BatchCall(prompt("a", 100), 1)

    assert [served.computed_tokens for served in serve([call, call])] == [100, 1]


def test_a_prompt_evicted_from_its_slot_comes_back_from_host_memory_unless_that_is_too_small():
    first, other = BatchCall(prompt("a", 100), 1), BatchCall(prompt("b", 100), 1)

    def computed(**more):
        return [served.computed_tokens for served in serve([first, other, first], **more)]

    assert computed() == [100, 100, 1]
    assert computed(host_tokens=0) == [100, 100, 100]


def test_what_the_engine_holds_is_carried_over_to_the_next_run():
    calls = [[BatchCall(prompt("a", 100), 1)]]
    _, held = serve_calls(calls, TIMES, slots=2, batch_tokens=512)
    served, _ = serve_calls(calls, TIMES, slots=2, batch_tokens=512, held=held)

    assert served[0].computed_tokens == 1


def test_the_replay_of_arrivals_agrees_with_the_engine_step_by_step():
    prompts, answers = (100, 700, 300, 1200, 50, 900, 400, 200), (40, 10, 60, 5, 80, 30, 20, 50)
    load = list(zip(prompts, answers, strict=True)) * 3
    engine = serve(*([BatchCall(prompt(n, p), o)] for n, (p, o) in enumerate(load)), slots=4)
    arrivals = Arrivals(
        np.zeros(len(load)), np.array([0.01 * p for p, _ in load]), np.array([0.1 * (o - 1) for _, o in load])
    )
    replayed = replay(arrivals, 1, slots=4, decode_to_prefill=0.2)

    assert replayed.finished_seconds == pytest.approx(max(call.ended_at for call in engine), rel=0.05)
    assert replayed.waited.mean() == pytest.approx(np.mean([call.started_at for call in engine]), rel=0.1)


def test_a_call_of_nothing_is_refused():
    with pytest.raises(ScenarioError, match="prompt"):
        BatchCall((), 1)


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.integers(0, 3), max_size=20))
def test_a_common_prefix_is_common_and_no_longer_one_is(one, other):
    length = common_prefix(one, other)

    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


calls = st.builds(
    lambda name, tokens, output: BatchCall(prompt(name, tokens), output),
    st.sampled_from("abc"),
    st.integers(1, 600),
    st.integers(1, 40),
)


@settings(max_examples=60)
@given(
    st.lists(st.lists(calls, max_size=5), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from([16, 512]),
    st.sampled_from([0.0, 700.0, math.inf]),
)
def test_every_call_is_served_in_order_and_no_faster_than_its_work(callers, slots, batch, host):
    served = serve(*callers, slots=slots, batch=batch, host_tokens=host)

    assert len(served) == sum(map(len, callers))
    for call in served:
        assert call.sent_at <= call.started_at < call.first_token_at <= call.ended_at
        assert call.computed_tokens >= 1
    work = sum(call.computed_tokens for call in served) * 0.01
    last = max((call.ended_at for call in served), default=0.0)
    assert last >= work * (1 - 1e-9)
    alone = sum(TIMES.seconds(len(c.prompt), c.output_tokens, len(c.prompt)) for calls in callers for c in calls)
    assert last <= alone * (1 + 1e-6) + 1e-6
