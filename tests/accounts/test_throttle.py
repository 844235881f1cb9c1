"""Requests and tokens a minute, by a clock that stands still until told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.accounts.keys import ANYONE, Caller
from breakeven.accounts.throttle import Throttle
from breakeven.errors import RateExceeded


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_beyond_the_limit_wait_for_room() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    caller = Caller("desk", rpm=3)
    for _ in range(3):
        throttle.admit(caller, 10)
    with pytest.raises(RateExceeded, match="3 requests a minute") as refused:
        throttle.admit(caller, 10)
    assert refused.value.retry_after_seconds == 20
    clock.now += 20
    throttle.admit(caller, 10)


def test_tokens_are_corrected_once_known() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    caller = Caller("desk", tpm=600)
    throttle.admit(caller, 100)
    throttle.correct(caller, 500)
    with pytest.raises(RateExceeded, match="600 tokens a minute"):
        throttle.admit(caller, 100)
    throttle.correct(caller, -100)
    throttle.admit(caller, 100)


def test_a_refused_request_counts_against_neither_limit() -> None:
    throttle = Throttle(Clock())
    caller = Caller("desk", rpm=1, tpm=100)
    throttle.admit(Caller("desk", tpm=100), 100)
    with pytest.raises(RateExceeded, match="tokens"):
        throttle.admit(caller, 1)
    throttle.correct(caller, -100)
    throttle.admit(caller, 1)


def test_a_request_larger_than_the_limit_passes_a_full_bucket_and_leaves_it_in_debt() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    caller = Caller("desk", tpm=60)
    throttle.admit(caller, 180)
    with pytest.raises(RateExceeded) as refused:
        throttle.admit(caller, 60)
    assert refused.value.retry_after_seconds == 180


def test_keys_do_not_share_and_anyone_is_not_limited() -> None:
    throttle = Throttle(Clock())
    for name in ("a", "b"):
        throttle.admit(Caller(name, rpm=1), 1)
    for _ in range(100):
        throttle.admit(ANYONE, 10**9)


@given(st.integers(1, 60), st.lists(st.floats(0, 5), max_size=200))
def test_no_minute_admits_more_than_a_burst_and_its_refill(rpm: int, pauses: list[float]) -> None:
    clock = Clock()
    throttle = Throttle(clock)
    admitted = []
    for pause in pauses:
        clock.now += pause
        try:
            throttle.admit(Caller("desk", rpm=rpm), 0)
        except RateExceeded:
            continue
        admitted.append(clock.now)
    for start in admitted:
        assert sum(start <= at < start + 60 for at in admitted) <= 2 * rpm
