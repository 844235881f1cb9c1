"""Calls queue on this side rather than be turned down on the other."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import virtual_time

from breakeven.errors import RateLimited
from breakeven.routing.limits import WINDOW_SECONDS, Limiter, Limiters, Limits, Window


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 20), st.floats(0, 40)), max_size=30),
)
def test_no_window_ever_holds_more_than_its_limit(limit: int, demands: list[tuple[int, float]]) -> None:
    window, now, taken = Window(limit, 60), 0.0, []
    for amount, passed in demands:
        now += passed
        now += window.wait(amount, now)
        assert window.wait(amount, now) == pytest.approx(0, abs=1e-6)
        window.take(amount, now)
        taken.append((now, amount))
        within = [amount for at, amount in taken if at > now - 60 + 1e-6]
        assert sum(within) <= limit or len(within) == 1


def test_a_window_makes_wait_no_longer_than_it_must() -> None:
    window = Window(3, 60)
    for at in (0, 10, 20):
        window.take(1, at)
    assert window.wait(1, 30) == 30
    assert window.wait(2, 30) == 40
    assert window.wait(1, 60) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 40)), max_size=30))
def test_what_is_used_is_what_was_settled_within_the_window(calls: list[tuple[int, int, float]]) -> None:
    window, now, taken = Window(10, 60), 0.0, []
    for expected, used, passed in calls:
        charge = window.take(expected, now)
        started, now = now, now + passed
        window.used(now)
        window.settle(charge, used)
        taken.append((started, used))
        assert window.used(now) == sum(amount for at, amount in taken if at > now - 60)


async def starts(limiter: Limiter, calls: int, *, tokens: int = 0, seconds: float = 0.0) -> list[float]:
    loop, begun = asyncio.get_running_loop(), []

    async def call() -> None:
        async with limiter.slot(tokens):
            begun.append(loop.time())
            await asyncio.sleep(seconds)

    await asyncio.gather(*(call() for _ in range(calls)))
    return begun


def limiter(**limits: int) -> Limiter:
    return Limiter("cloud", Limits(**limits), asyncio.get_running_loop().time)


def test_requests_beyond_a_minutes_worth_wait_for_the_next() -> None:
    async def work() -> list[float]:
        return await starts(limiter(requests_per_minute=2), 5)

    assert virtual_time.run(work()) == [0, 0, WINDOW_SECONDS, WINDOW_SECONDS, 2 * WINDOW_SECONDS]


def test_tokens_are_settled_at_what_was_used() -> None:
    async def work() -> tuple[float, float]:
        one = limiter(tokens_per_minute=1000)
        async with one.slot(900) as slot:
            before = one.wait(500)
            slot.settle(100)
        return before, one.wait(500)

    assert virtual_time.run(work()) == (WINDOW_SECONDS, 0)


def test_no_more_calls_are_in_flight_than_allowed_and_they_go_in_order() -> None:
    async def work() -> list[float]:
        return await starts(limiter(concurrency=2), 5, seconds=10)

    assert virtual_time.run(work()) == [0, 0, 10, 10, 20]


def test_who_would_wait_beyond_the_deadline_is_told_at_once_and_when_to_return() -> None:
    async def work() -> float:
        one = limiter(requests_per_minute=1)
        async with one.slot():
            pass
        with pytest.raises(RateLimited, match=r"providers\.cloud") as caught:
            async with one.slot(within=5):
                raise AssertionError
        assert caught.value.retry_after_seconds == WINDOW_SECONDS
        return asyncio.get_running_loop().time()

    assert virtual_time.run(work()) == 0


def test_who_waits_for_others_in_vain_leaves_at_the_deadline_and_the_queue_goes_on() -> None:
    async def work() -> list[float]:
        one = limiter(concurrency=1)
        loop = asyncio.get_running_loop()
        first = asyncio.create_task(starts(one, 1, seconds=20))
        await asyncio.sleep(1)
        with pytest.raises(RateLimited):
            async with one.slot(within=5):
                raise AssertionError
        assert loop.time() == 6
        assert one.waiting == 0
        await first
        return await starts(one, 1)

    assert virtual_time.run(work()) == [20]


def test_a_caller_that_leaves_the_queue_takes_nothing_with_it() -> None:
    async def work() -> list[float]:
        one = limiter(concurrency=1, requests_per_minute=2)
        first = asyncio.create_task(starts(one, 1, seconds=20))
        await asyncio.sleep(1)
        leaving = asyncio.create_task(starts(one, 1))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await first
        return await starts(one, 1)

    assert virtual_time.run(work()) == [20]


def test_without_limits_nothing_waits() -> None:
    async def work() -> list[float]:
        return await starts(limiter(), 3, seconds=1)

    assert virtual_time.run(work()) == [0, 0, 0]


def test_limits_that_stay_remember_what_was_used() -> None:
    async def work() -> tuple[float, float]:
        limiters = Limiters(asyncio.get_running_loop().time)
        same, other = Limits(requests_per_minute=1), Limits(requests_per_minute=2)
        limiters.reconfigure({"a": same, "b": same}, lambda _: True)
        for name in ("a", "b"):
            async with limiters.of(name).slot():
                pass
        limiters.reconfigure({"a": same, "b": other}, lambda _: True)
        return limiters.of("a").wait(), limiters.of("b").wait()

    assert virtual_time.run(work()) == (WINDOW_SECONDS, 0)
