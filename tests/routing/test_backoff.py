from hypothesis import given
from hypothesis import strategies as st

from breakeven.routing.backoff import RetryPolicy, wait_seconds

POLICY = RetryPolicy(retries=3, base=0.5, most=30)
shares = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 2), shares)
def test_the_wait_is_drawn_below_a_ceiling_that_doubles(retry: int, jitter: float) -> None:
    wait = wait_seconds(POLICY, retry, jitter)
    assert wait is not None
    assert 0 <= wait <= 0.5 * 2**retry


def test_there_are_only_so_many_retries() -> None:
    assert wait_seconds(POLICY, 3, 0) is None
    assert wait_seconds(RetryPolicy(retries=0), 0, 0) is None


@given(st.integers(0, 2), shares, st.floats(0, 100))
def test_a_provider_that_asks_for_time_gets_it_or_is_left(retry: int, jitter: float, asked: float) -> None:
    wait = wait_seconds(POLICY, retry, jitter, asked=asked)
    assert wait is None if asked > 30 else wait is not None and wait >= asked


@given(st.integers(0, 2), shares, st.none() | st.floats(0, 30), st.floats(0, 10))
def test_no_wait_reaches_the_deadline(retry: int, jitter: float, asked: float | None, left: float) -> None:
    wait = wait_seconds(POLICY, retry, jitter, asked=asked, left=left)
    assert wait is None or wait < left


def test_with_an_alternative_nobody_waits_longer_than_we_would_on_our_own() -> None:
    assert wait_seconds(POLICY, 0, 0.1, asked=0.4, alternative=True) == 0.4
    assert wait_seconds(POLICY, 0, 0.1, asked=2, alternative=True) is None
