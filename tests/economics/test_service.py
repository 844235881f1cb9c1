import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.catalog.shapes import find_shape
from breakeven.economics.service import (
    Basis,
    BoxSpeed,
    Speed,
    best,
    decode_roofline,
    prefill_roofline,
)
from breakeven.errors import ScenarioError

LLAMA = find_shape("llama-3.3-70b-q4_k_m").shape
M4_MAX = BoxSpeed(Speed(80, Basis.INFERRED, "scaled"), Speed(10, Basis.INFERRED, "scaled"))
GROWING = BoxSpeed(M4_MAX.prefill, M4_MAX.decode, LLAMA)
tokens = st.integers(0, 100_000)


def test_a_realistic_call_takes_40_seconds_and_17_and_a_half_with_90_percent_of_the_prompt_resident():
    assert M4_MAX.seconds(2000, 150) == 40
    assert M4_MAX.seconds(200, 150, context_tokens=2000) == 17.5


def test_prefill_is_not_free():
    assert M4_MAX.seconds(2000, 0) == 25


def test_decode_slows_down_as_the_kv_cache_grows():
    assert GROWING.decode_tokens_per_second(2048) == 10
    assert GROWING.decode_tokens_per_second(131_072) == pytest.approx(10 * (39.6 + 0.625) / (39.6 + 40), rel=0.01)


def test_cached_tokens_cost_no_prefill_but_still_slow_decode_down():
    assert GROWING.seconds(0, 100, context_tokens=65_536) > GROWING.seconds(0, 100, context_tokens=1024)


@given(tokens, tokens, tokens)
def test_more_tokens_never_take_less_time(computed, output, more):
    assert GROWING.seconds(computed + more, output) >= GROWING.seconds(computed, output)
    assert GROWING.seconds(computed, output + more) >= GROWING.seconds(computed, output)


def test_a_measured_speed_is_preferred_and_says_that_it_is():
    known = [Speed(9, Basis.ROOFLINE, "η"), Speed(8, Basis.MEASURED, "here"), Speed(7, Basis.PUBLISHED, "maker")]

    assert best(known) == known[1]
    assert best(known[::2]) == known[2]
    assert best([]) is None


@pytest.mark.parametrize(
    ("bandwidth", "family", "measured"), [(819, "apple", 14.4), (800, "apple", 12.5), (1935, "hbm", 22.3)]
)
def test_the_decode_roofline_comes_within_a_fifth_of_what_people_measured(bandwidth, family, measured):
    assert decode_roofline(LLAMA, bandwidth_gb_s=bandwidth, family=family).tokens_per_second == pytest.approx(
        measured, rel=0.2
    )


def test_a_mixture_reads_only_its_active_weights():
    mixture = find_shape("gpt-oss-120b-mxfp4").shape

    assert decode_roofline(mixture, bandwidth_gb_s=546, family="apple").tokens_per_second > 50


def test_the_prefill_roofline_says_how_far_it_is_to_be_trusted():
    roofline = prefill_roofline(LLAMA, teraflops=34)

    assert roofline.basis is Basis.ROOFLINE
    assert "0.19 to 0.81" in roofline.source


def test_requests_decoded_together_share_the_pass_over_the_weights():
    assert M4_MAX.parallel_slowdown(1) == 1
    assert 1 < M4_MAX.parallel_slowdown(4) < 4


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_no_speed_is_made_of_nonsense(wrong):
    with pytest.raises(ScenarioError, match="tokens_per_second"):
        Speed(wrong, Basis.MEASURED, "broken meter")
