import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.step_times import DecodeTime, PrefillTime, StepTimes
from breakeven.errors import ScenarioError


def prefill(n):
    return 0.05 + 0.006 * n + 4e-7 * n * n


def step(parallel, context):
    return 0.005 + 0.007 * parallel + 1e-5 * parallel * context


MEASURED = StepTimes(
    tuple(PrefillTime(n, prefill(n)) for n in (32, 128, 512, 2048)),
    tuple(DecodeTime(p, c, step(p, c)) for p in (1, 2, 4) for c in (48, 528)),
    overhead_seconds=0.004,
)


@pytest.mark.parametrize("tokens", [1, 64, 1000, 4000])
def test_prefill_of_any_length_follows_from_the_lengths_measured(tokens):
    assert MEASURED.prefill_seconds(tokens) == pytest.approx(prefill(tokens), rel=1e-6)


@pytest.mark.parametrize(("parallel", "context"), [(1, 0), (1, 4000), (2, 100), (3, 300), (8, 528)])
def test_a_step_of_decode_between_and_beyond_the_points_measured(parallel, context):
    assert MEASURED.step_seconds(parallel, context) == pytest.approx(step(parallel, context), rel=1e-6)


def test_what_is_cached_is_not_computed_but_attended_to():
    assert MEASURED.prefill_seconds(100, 1000) == pytest.approx(0.05 + prefill(1100) - prefill(1000))
    assert MEASURED.prefill_seconds(100, 1000) > MEASURED.prefill_seconds(100)


def test_a_call_alone_takes_overhead_prefill_and_a_step_for_each_token_after_the_first():
    expected = 0.004 + prefill(500) + 9 * step(1, 505)
    assert MEASURED.seconds(500, 10, 500) == pytest.approx(expected)


def test_a_call_beside_others_waits_for_their_prompts_and_shares_their_steps():
    expected = 0.004 + 4 * prefill(500) + 9 * step(4, 505)
    assert MEASURED.seconds(500, 10, 500, parallel=4) == pytest.approx(expected)


def test_one_point_of_each_is_enough_and_is_taken_as_proportional():
    times = StepTimes((PrefillTime(1000, 5.0),), (DecodeTime(1, 100, 0.02),))

    assert times.prefill_seconds(2000) == pytest.approx(10)
    assert times.step_seconds(1, 4000) == pytest.approx(0.02)
    assert times.step_seconds(3, 0) == pytest.approx(0.02 + 2 * 0.005)


@pytest.mark.parametrize(("prefills", "decodes"), [((), (DecodeTime(1, 1, 1),)), ((PrefillTime(1, 1),), ())])
def test_without_points_there_is_no_speed(prefills, decodes):
    with pytest.raises(ScenarioError):
        StepTimes(prefills, decodes)


def test_a_time_of_zero_is_refused():
    with pytest.raises(ScenarioError, match="seconds"):
        PrefillTime(10, 0.0)


points = st.floats(1e-4, 100)


@given(
    st.lists(points, min_size=4, max_size=4),
    st.lists(points, min_size=6, max_size=6),
    st.integers(1, 8),
    st.integers(1, 5000),
)
def test_whatever_was_measured_longer_prompts_and_contexts_never_take_less(prefills, decodes, parallel, tokens):
    times = StepTimes(
        tuple(PrefillTime(n, s) for n, s in zip((32, 128, 512, 2048), prefills, strict=True)),
        tuple(
            DecodeTime(p, c, s)
            for (p, c), s in zip([(p, c) for p in (1, 2, 4) for c in (48, 528)], decodes, strict=True)
        ),
    )
    assert times.prefill_seconds(tokens + 100) >= times.prefill_seconds(tokens) * (1 - 1e-9) > 0
    assert times.decode_tokens_per_second(0, parallel) > 0
    assert times.step_seconds(1, tokens + 100) >= times.step_seconds(1, tokens) * (1 - 1e-9) > 0
    assert times.step_seconds(parallel, tokens) >= times.step_seconds(1, tokens) * (1 - 1e-9)
