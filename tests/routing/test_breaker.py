"""A target that keeps failing is left alone, then tried by one call, then by all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from breakeven.routing.breaker import Breaker, BreakerPolicy, Breakers, Target

CLAUDE = ("claude", "sonnet")
POLICY = BreakerPolicy(failures=3, window=60, cooldown=30)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def steady() -> float:
    return 0.0


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY, steady)
    for _ in range(3):
        breaker.failed(at)
    return breaker


def test_it_opens_at_so_many_failures_within_the_window() -> None:
    breaker = Breaker(POLICY, steady)
    breaker.failed(0)
    breaker.failed(50)
    breaker.failed(61)  # the first is forgotten
    assert breaker.state(61) == "closed"
    breaker.failed(62)
    assert breaker.state(62) == "open"
    assert not breaker.admit(62)


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(POLICY, steady)
    breaker.failed(0)
    breaker.failed(1)
    breaker.succeeded()
    breaker.failed(2)
    assert breaker.state(2) == "closed"


def test_after_the_cooldown_one_call_may_try_and_its_success_closes() -> None:
    breaker = opened()
    assert not breaker.admit(29.9)
    assert breaker.admit(30)
    assert not breaker.admit(30)
    assert breaker.succeeded()
    assert breaker.admit(30)


def test_a_failed_try_doubles_the_cooldown_up_to_sixteen_times() -> None:
    breaker, now, cooldowns = opened(), 30.0, []
    for _ in range(6):
        assert breaker.admit(now)
        cooldown = breaker.failed(now)
        assert cooldown is not None
        cooldowns.append(cooldown)
        now += cooldown
    assert cooldowns == [60, 120, 240, 480, 480, 480]


def test_a_try_that_was_withdrawn_lets_the_next_one_try() -> None:
    breaker = opened()
    assert breaker.admit(30)
    breaker.abandoned()
    assert breaker.admit(30)


def test_stragglers_of_an_open_breaker_do_not_lengthen_it() -> None:
    breaker = opened()
    assert breaker.failed(1) is None
    assert breaker.state(30) == "half_open"


def test_cooldowns_are_spread_so_that_gateways_do_not_return_at_once() -> None:
    breaker = Breaker(BreakerPolicy(failures=1, cooldown=30), lambda: 0.5)
    assert breaker.failed(0) == 37.5


@given(st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "abandoned", "admit"]), st.floats(0, 20))))
def test_an_open_breaker_admits_nobody_and_a_half_open_one_only_one(steps: list[tuple[str, float]]) -> None:
    breaker, now, trying = Breaker(POLICY, steady), 0.0, False
    for step, passed in steps:
        now += passed
        state = breaker.state(now)
        if step == "admit":
            admitted = breaker.admit(now)
            assert admitted == (state == "closed" or (state == "half_open" and not trying))
            trying = trying or (admitted and state == "half_open")
        else:
            trying = False
            breaker.failed(now) if step == "failed" else getattr(breaker, step)()


def test_targets_have_breakers_of_their_own_and_show_how_they_stand() -> None:
    clock = Clock()
    breakers = Breakers(POLICY, clock=clock, jitter=steady)
    for _ in range(3):
        breakers.failed(CLAUDE)

    assert breakers.state(CLAUDE) == "open"
    assert breakers.state(("claude", "haiku")) == "closed"
    clock.now += 10
    standing = breakers.snapshot()[CLAUDE]
    assert (standing.state, standing.failures, standing.rest_seconds) == ("open", 3, 20)


class Told:
    def __init__(self) -> None:
        self.verdicts: list[tuple[Target, float | None]] = []

    def opened(self, target: Target, seconds: float) -> None:
        self.verdicts.append((target, seconds))

    def closed(self, target: Target) -> None:
        self.verdicts.append((target, None))


def test_peers_hear_of_verdicts_and_theirs_hold_here() -> None:
    clock, told = Clock(), Told()
    here, there = Breakers(POLICY, clock=clock, jitter=steady, peers=told), Breakers(POLICY, clock=clock)
    for _ in range(3):
        here.failed(CLAUDE)
    clock.now += 30
    assert here.admit(CLAUDE)
    here.succeeded(CLAUDE)
    here.succeeded(CLAUDE)

    assert told.verdicts == [(CLAUDE, 30), (CLAUDE, None)]
    there.adopt(*told.verdicts[0])
    assert there.state(CLAUDE) == "open"
    there.adopt(*told.verdicts[1])
    assert there.state(CLAUDE) == "closed"


def test_another_policy_keeps_what_is_known_of_targets_that_stay() -> None:
    breakers = Breakers(POLICY, clock=Clock(), jitter=steady)
    for target in (CLAUDE, ("gone", "m")):
        for _ in range(3):
            breakers.failed(target)

    breakers.reconfigure(BreakerPolicy(), lambda target: target[0] == "claude")

    assert list(breakers.snapshot()) == [CLAUDE]
    assert breakers.state(CLAUDE) == "open"
