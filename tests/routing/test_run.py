"""Carrying out a plan: what is tried again, what elsewhere, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import virtual_time
from tests.routing.samples import STATES, call, settings

from breakeven.errors import (
    BreakevenError,
    BudgetExhausted,
    ContextExceeded,
    CostUnknown,
    DataStays,
    DeadlineExceeded,
    EngineUnavailable,
    LedgerUnavailable,
    Overloaded,
    RateLimited,
    RequestError,
    StreamCut,
    Unsupported,
    UpstreamError,
)
from breakeven.routing.backoff import RetryPolicy
from breakeven.routing.breaker import BreakerPolicy, Breakers
from breakeven.routing.limits import Limiters, Limits
from breakeven.routing.plan import Plan, Planned, plan
from breakeven.routing.run import Delivered, Ended, Failed, GateFailed, Outcome, Turn, run

GOOD = Delivered("the answer")
TWO_RETRIES = RetryPolicy(retries=2, base=1, most=30)
BAD_GATEWAY = Failed(UpstreamError("bad gateway"))


class Targets:
    """Answers by script; the last line of a target's script repeats."""

    def __init__(self, seconds: float = 0.0, **scripts: list[Ended]) -> None:
        self.asked: list[tuple[str, int, float]] = []
        self._seconds = seconds
        self._scripts = scripts

    async def __call__(self, planned: Planned, turn: Turn) -> Ended:
        self.asked.append((planned.alias, turn.number, asyncio.get_running_loop().time()))
        await asyncio.sleep(self._seconds)
        script = self._scripts[planned.alias]
        return script.pop(0) if len(script) > 1 else script[0]

    @property
    def aliases(self) -> list[str]:
        return [alias for alias, _, _ in self.asked]

    @property
    def times(self) -> list[float]:
        return [time for _, _, time in self.asked]


def planned(**given: Any) -> Plan:
    return plan(call("auto", **given), settings(), STATES)


def carry_out(
    targets: Targets,
    made: Plan | None = None,
    *,
    retry: RetryPolicy = TWO_RETRIES,
    breakers: Callable[[Callable[[], float]], Breakers] = lambda clock: Breakers(BreakerPolicy(), clock=clock),
    limits: dict[str, Limits] | None = None,
    began: float | None = None,
) -> Outcome:
    async def work() -> Outcome:
        clock = asyncio.get_running_loop().time
        limiters = Limiters(clock)
        limiters.reconfigure(limits or {}, lambda _: True)
        return await run(
            made or planned(),
            targets,
            breakers=breakers(clock),
            limiters=limiters,
            retry=retry,
            began=began,
            clock=clock,
            jitter=lambda: 0.5,
        )

    return virtual_time.run(work())


def test_the_first_target_that_answers_is_the_last_one_asked() -> None:
    targets = Targets(local=[GOOD])

    outcome = carry_out(targets)

    assert outcome.ended is GOOD
    assert targets.asked == [("local", 1, 0)]


def test_what_may_pass_is_tried_again_with_growing_waits_then_elsewhere() -> None:
    targets = Targets(local=[BAD_GATEWAY], frontier=[GOOD])

    outcome = carry_out(targets)

    assert targets.asked == [("local", 1, 0), ("local", 2, 0.5), ("local", 3, 1.5), ("frontier", 4, 1.5)]
    assert outcome.ended is GOOD
    assert [tried.number for tried in outcome.history] == [1, 2, 3, 4]


def test_a_target_that_recovers_is_not_left() -> None:
    targets = Targets(local=[BAD_GATEWAY, GOOD])

    assert carry_out(targets).ended is GOOD
    assert targets.aliases == ["local", "local"]


def test_when_all_fail_the_last_failure_is_what_the_caller_hears_of() -> None:
    last = Failed(EngineUnavailable("loading"))

    outcome = carry_out(Targets(local=[BAD_GATEWAY], frontier=[last]), retry=RetryPolicy(retries=0))

    assert outcome.ended is last
    assert [tried.ended for tried in outcome.history] == [BAD_GATEWAY, last]


def test_an_answer_that_fails_its_gate_is_asked_for_elsewhere_and_not_again() -> None:
    refused = GateFailed("not_refused", "the model refused")
    targets = Targets(local=[refused], frontier=[GOOD])

    assert carry_out(targets).ended is GOOD
    assert targets.aliases == ["local", "frontier"]


def test_once_the_caller_has_seen_part_of_an_answer_nothing_else_is_tried() -> None:
    cut = Failed(StreamCut("cut"), begun=True)
    targets = Targets(local=[cut], frontier=[GOOD])

    assert carry_out(targets).ended is cut
    assert targets.aliases == ["local"]


def test_a_stream_cut_before_the_caller_saw_any_of_it_falls_back() -> None:
    targets = Targets(local=[Failed(StreamCut("cut"))], frontier=[GOOD])

    assert carry_out(targets, retry=RetryPolicy(retries=0)).ended is GOOD


@pytest.mark.parametrize("error", [RequestError("temperature = 7"), LedgerUnavailable("disk full")])
def test_a_fault_that_every_target_shares_ends_the_call(error: BreakevenError) -> None:
    targets = Targets(local=[Failed(error)], frontier=[GOOD])

    ended = carry_out(targets).ended

    assert isinstance(ended, Failed)
    assert ended.error is error
    assert targets.aliases == ["local"]


def missing_model() -> RequestError:
    error = RequestError("no such model here")
    error.status = 404
    return error


@pytest.mark.parametrize(
    "error",
    [
        ContextExceeded("long"),
        Unsupported("tools"),
        BudgetExhausted("spent"),
        CostUnknown("no price"),
        DataStays("stays"),
        missing_model(),
    ],
)
def test_a_refusal_that_another_target_may_not_repeat_is_tried_there_at_once(error: BreakevenError) -> None:
    targets = Targets(local=[Failed(error)], frontier=[GOOD])

    assert carry_out(targets).ended is GOOD
    assert targets.times == [0, 0]


@pytest.mark.parametrize("error", [RateLimited, Overloaded])
def test_a_provider_that_asks_for_time_gets_it_when_there_is_nobody_else(error: Any) -> None:
    targets = Targets(frontier=[Failed(error("slow down", retry_after_seconds=7)), GOOD])

    assert carry_out(targets, plan(call("frontier"), settings(), STATES)).ended is GOOD
    assert targets.times == [0, 7]


def test_with_somebody_else_to_ask_nobody_waits_that_long() -> None:
    limited = Failed(RateLimited("slow down", retry_after_seconds=7))
    targets = Targets(local=[limited], frontier=[GOOD])

    assert carry_out(targets).ended is GOOD
    assert targets.asked == [("local", 1, 0), ("frontier", 2, 0)]


def test_after_the_deadline_nothing_is_tried() -> None:
    targets = Targets(seconds=6, local=[BAD_GATEWAY], frontier=[GOOD])

    outcome = carry_out(targets, planned(deadline_seconds=10), retry=RetryPolicy(retries=5, base=0.1, most=1))

    assert targets.aliases == ["local", "local"]
    assert isinstance(outcome.ended, Failed)
    assert isinstance(outcome.ended.error, DeadlineExceeded)
    assert "local: upstream_error" in str(outcome.ended.error)


def test_an_attempt_is_told_how_long_it_has() -> None:
    told = []

    class Asking(Targets):
        async def __call__(self, planned: Planned, turn: Turn) -> Ended:
            told.append(turn.seconds_left)
            return await super().__call__(planned, turn)

    carry_out(Asking(seconds=2, local=[BAD_GATEWAY, GOOD]), planned(deadline_seconds=10))
    carry_out(Asking(seconds=2, local=[BAD_GATEWAY, GOOD]), planned(deadline_seconds=10), began=-4.0)

    assert told == [10, 7.5, 6, 3.5]


def test_failures_open_the_breaker_and_an_open_one_passes_the_call_on() -> None:
    kept: list[Breakers] = []

    def strict(clock: Callable[[], float]) -> Breakers:
        kept.append(Breakers(BreakerPolicy(failures=2), clock=clock))
        return kept[0]

    targets = Targets(local=[BAD_GATEWAY], frontier=[GOOD])

    outcome = carry_out(targets, breakers=strict)

    assert targets.aliases == ["local", "local", "frontier"]
    assert kept[0].state(("engine", "llama")) == "open"
    assert outcome.ended is GOOD


@pytest.mark.parametrize(
    "ended",
    [
        GateFailed("not_empty", "empty"),
        Failed(RequestError("temperature = 7")),
        Failed(RateLimited("slow down")),
        Failed(DeadlineExceeded("too late")),
        Failed(LedgerUnavailable("disk full")),
    ],
)
def test_what_is_not_the_targets_illness_does_not_open_its_breaker(ended: Ended) -> None:
    kept: list[Breakers] = []

    def strict(clock: Callable[[], float]) -> Breakers:
        kept.append(Breakers(BreakerPolicy(failures=1), clock=clock))
        return kept[0]

    carry_out(Targets(local=[ended], frontier=[GOOD]), breakers=strict, retry=RetryPolicy(retries=0))

    assert kept[0].state(("engine", "llama")) == "closed"


def test_a_refusal_of_our_own_does_not_pass_for_the_health_of_a_target() -> None:
    kept: list[Breakers] = []

    def recovering(clock: Callable[[], float]) -> Breakers:
        kept.append(Breakers(BreakerPolicy(failures=1, cooldown=0.001), clock=lambda: clock() + 1, jitter=lambda: 0))
        kept[0].adopt(("engine", "llama"), 0)
        return kept[0]

    targets = Targets(local=[Failed(BudgetExhausted("spent"))], frontier=[GOOD])
    carry_out(targets, breakers=recovering)

    assert targets.aliases == ["local", "frontier"]
    assert kept[0].state(("engine", "llama")) == "half_open"


def test_everybody_left_alone_is_told_as_unavailable_and_nothing_was_tried() -> None:
    def resting(clock: Callable[[], float]) -> Breakers:
        breakers = Breakers(BreakerPolicy(failures=1), clock=clock)
        breakers.failed(("engine", "llama"))
        breakers.failed(("claude", "sonnet"))
        return breakers

    outcome = carry_out(Targets(), breakers=resting)

    assert isinstance(outcome.ended, Failed)
    assert isinstance(outcome.ended.error, EngineUnavailable)
    assert outcome.history == ()


def test_a_refusal_by_a_target_of_unknown_capabilities_is_not_the_last_word() -> None:
    refused = Failed(RequestError("no images, please"))
    made = planned(needs=frozenset({"vision"}))
    targets = Targets(local=[refused], frontier=[GOOD])

    assert carry_out(targets, made).ended is GOOD
    assert made.attempts[0].unproven == ("vision",)


def test_a_refusal_by_a_target_known_to_be_capable_is() -> None:
    refused = Failed(RequestError("that is no image"))
    sighted = replace(STATES[0], capabilities=frozenset({"vision"}))
    made = plan(call("auto", needs=frozenset({"vision"})), settings(), [sighted, STATES[1]])

    assert carry_out(Targets(local=[refused]), made).ended is refused


def test_a_provider_without_room_in_time_passes_the_call_on() -> None:
    async def work() -> list[str]:
        clock = asyncio.get_running_loop().time
        limiters = Limiters(clock)
        limiters.reconfigure({"engine": Limits(concurrency=1)}, lambda _: True)
        targets = Targets(local=[GOOD], frontier=[GOOD])
        async with limiters.of("engine").slot():
            outcome = await run(
                plan(call("auto", deadline_seconds=5), settings(), STATES),
                targets,
                breakers=Breakers(BreakerPolicy(), clock=clock),
                limiters=limiters,
                retry=RetryPolicy(),
                clock=clock,
            )
        assert isinstance(outcome.ended, Failed)
        return targets.aliases

    # The whole deadline went by in the queue, so there is no time left for anybody.
    assert virtual_time.run(work()) == []


def test_a_caller_that_leaves_stops_everything_and_frees_the_breaker() -> None:
    async def work() -> tuple[list[str], bool]:
        clock = asyncio.get_running_loop().time
        breakers = Breakers(BreakerPolicy(failures=1, cooldown=1), clock=clock, jitter=lambda: 0)
        breakers.failed(("engine", "llama"))
        await asyncio.sleep(1)
        targets = Targets(seconds=60, local=[GOOD], frontier=[GOOD])
        made = plan(call("local"), settings(), STATES)
        running = asyncio.create_task(
            run(made, targets, breakers=breakers, limiters=Limiters(clock), retry=RetryPolicy(), clock=clock)
        )
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return targets.aliases, breakers.admit(("engine", "llama"))

    assert virtual_time.run(work()) == (["local"], True)


def test_tokens_used_are_settled_with_the_limiter() -> None:
    async def work() -> float:
        clock = asyncio.get_running_loop().time
        limiters = Limiters(clock)
        limiters.reconfigure({"engine": Limits(tokens_per_minute=1000)}, lambda _: True)
        await run(
            plan(call("local"), settings(), STATES),
            Targets(local=[Delivered("x", tokens=10)]),
            breakers=Breakers(BreakerPolicy(), clock=clock),
            limiters=limiters,
            retry=RetryPolicy(),
            tokens=1000,
            clock=clock,
        )
        return limiters.of("engine").wait(900)

    assert virtual_time.run(work()) == 0


def test_a_plan_with_nobody_to_ask_is_refused_as_the_plan_says() -> None:
    with pytest.raises(DataStays):
        carry_out(Targets(), plan(call("frontier", label="local_only"), settings(), STATES))


ends = st.sampled_from(
    [
        GOOD,
        BAD_GATEWAY,
        GateFailed("not_empty", "empty"),
        Failed(StreamCut("cut"), begun=True),
        Failed(RequestError("temperature = 7")),
        Failed(ContextExceeded("long")),
        Failed(RateLimited("slow down", retry_after_seconds=3)),
        Failed(EngineUnavailable("loading")),
        Failed(LedgerUnavailable("disk full")),
    ]
)
scripts = st.lists(ends, min_size=1, max_size=6)


@given(
    scripts,
    scripts,
    st.sampled_from(["local_only", "shareable"]),
    st.integers(0, 3),
    st.none() | st.floats(0.1, 20),
    st.floats(0, 3),
)
def test_whatever_happens_a_call_ends_in_order_and_in_time(
    local: Any, frontier: Any, label: Any, retries: int, deadline: float | None, seconds: float
) -> None:
    targets = Targets(seconds, local=local, frontier=frontier)

    made = planned(label=label, deadline_seconds=deadline)
    outcome = carry_out(targets, made, retry=RetryPolicy(retries=retries, base=1, most=5))

    history = outcome.history
    assert [tried.number for tried in history] == list(range(1, len(history) + 1))
    assert [tried.planned.alias for tried in history] == targets.aliases
    assert targets.aliases == sorted(targets.aliases, key=[one.alias for one in made.attempts].index)
    assert all(targets.aliases.count(alias) <= retries + 1 for alias in targets.aliases)
    assert label == "shareable" or "frontier" not in targets.aliases
    for tried in history[:-1]:
        assert not isinstance(tried.ended, Delivered)
        assert not (isinstance(tried.ended, Failed) and tried.ended.begun)
    assert deadline is None or all(time < deadline for time in targets.times)
    delivered = [tried for tried in history if isinstance(tried.ended, Delivered)]
    assert bool(delivered) == isinstance(outcome.ended, Delivered)
