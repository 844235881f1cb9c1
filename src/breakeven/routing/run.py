"""Carry out a plan: try its targets in order until one answers, and know when to stop.

1. A failure that may pass is tried again at the same target, as often and as patiently as `RetryPolicy` says.
2. Then, or when an answer does not pass its gates, the next target is asked.
3. A fault of the request itself ends the call, unless another target may not have it: another context, other
   capabilities (also when nobody knows whether this one has what the call needs), another budget.
4. Once anything of an answer has reached the caller nothing else is tried.
5. When the deadline has passed nothing else is tried.
6. When the caller leaves everything stops.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

import msgspec

from breakeven.errors import (
    BodyTooLarge,
    BreakevenError,
    BudgetRefused,
    ContextExceeded,
    DataStays,
    DeadlineExceeded,
    DeadlineUnreachable,
    EngineUnavailable,
    ModelNotFound,
    Overloaded,
    RateLimited,
    RequestError,
    Unsupported,
    UpstreamError,
)
from breakeven.routing.backoff import RetryPolicy, wait_seconds
from breakeven.routing.breaker import Breakers, Clock, Jitter, Target
from breakeven.routing.limits import Limiters
from breakeven.routing.plan import Plan, Planned

ELSEWHERE = (BodyTooLarge, BudgetRefused, ContextExceeded, DataStays, ModelNotFound, Unsupported)
"""Refusals that another target may not repeat."""
NOT_FOUND = 404


class Delivered(msgspec.Struct, frozen=True):
    """An attempt whose answer is good: it has been sent, or ``answer`` is what is to be sent.

    Attributes:
        tokens: used in all, for the provider's limits; ``None`` when unknown.
    """

    answer: Any = None
    tokens: int | None = None


class GateFailed(msgspec.Struct, frozen=True):
    """An attempt whose answer is whole but not good enough: which gate it failed and why; ``tokens`` as above."""

    gate: str
    why: str
    answer: Any = None
    tokens: int | None = None


class Failed(msgspec.Struct, frozen=True):
    """An attempt without a whole answer; ``begun`` when some of it has reached the caller."""

    error: BreakevenError
    begun: bool = False
    tokens: int | None = None


Ended: TypeAlias = Delivered | GateFailed | Failed


class Turn(msgspec.Struct, frozen=True):
    """What an attempt is told: its number within the call, from 1, and the seconds left to the deadline."""

    number: int
    seconds_left: float | None


class Tried(msgspec.Struct, frozen=True):
    """One attempt in the history of a call."""

    number: int
    planned: Planned
    ended: Ended


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended: as its last attempt did.

    Attributes:
        ended: what the caller hears of.
        history: every attempt that was made, in order; empty when none could be.
    """

    ended: Ended
    history: tuple[Tried, ...]


Attempt: TypeAlias = Callable[[Planned, Turn], Awaitable[Ended]]
"""Makes one attempt and books it. It raises nothing but what ends the whole call: cancellation, or a fault of ours."""


@dataclass(slots=True)
class _Run:
    plan: Plan
    attempt: Attempt
    breakers: Breakers
    limiters: Limiters
    retry: RetryPolicy
    tokens: int
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    jitter: Jitter
    deadline: float | None = None
    history: list[Tried] = field(default_factory=list)

    def left(self) -> float | None:
        return None if self.deadline is None else self.deadline - self.clock()


async def run(
    plan: Plan,
    attempt: Attempt,
    *,
    breakers: Breakers,
    limiters: Limiters,
    retry: RetryPolicy,
    tokens: int = 0,
    began: float | None = None,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Jitter = random.random,
) -> Outcome:
    """Try the targets of a plan; see the rules above.

    Args:
        tokens: what an attempt is expected to use, prompt and output, for the providers' limits.
        began: when the deadline began to run, by ``clock``; now by default. A call that is planned twice has one.

    Raises:
        BreakevenError: the plan's refusal, when it has no targets.
    """
    if (refusal := plan.refusal()) is not None:
        raise refusal
    since = clock() if began is None else began
    deadline = None if plan.deadline_seconds is None else since + plan.deadline_seconds
    state = _Run(plan, attempt, breakers, limiters, retry, tokens, clock, sleep, jitter, deadline)
    *earlier, last = plan.attempts
    for planned in earlier:
        ended = await _exhaust(state, planned, alternative=True)
        if _is_final(ended, planned):
            return Outcome(ended, tuple(state.history))
    return Outcome(await _exhaust(state, last, alternative=False), tuple(state.history))


async def _exhaust(state: _Run, planned: Planned, *, alternative: bool) -> Ended:
    """Try one target until it answers, or trying again is of no use."""
    target: Target = (planned.provider, planned.model)
    for retry in count():
        left = state.left()
        if left is not None and left <= 0:
            break
        if not state.breakers.admit(target):
            resting = EngineUnavailable(f"{planned.provider} failed repeatedly and is left alone for a while")
            return state.history[-1].ended if state.history else Failed(resting)
        try:
            ended = await _try(state, planned, target, left)
        except RateLimited as no_room:
            return Failed(no_room)
        if not isinstance(ended, Failed) or ended.begun or not _may_pass(ended.error):
            return ended
        asked = ended.error.retry_after_seconds if isinstance(ended.error, RateLimited | Overloaded) else None
        jitter = state.jitter()
        wait = wait_seconds(state.retry, retry, jitter, asked=asked, left=state.left(), alternative=alternative)
        if wait is None:
            return ended
        await state.sleep(wait)
    return _overdue(state)


async def _try(state: _Run, planned: Planned, target: Target, left: float | None) -> Ended:
    """One attempt, admitted by the breaker.

    Raises:
        RateLimited: when the provider's limits leave no room in time; then nothing was attempted.
    """
    ended: Ended | None = None
    try:
        async with state.limiters.of(planned.provider).slot(state.tokens, left) as slot:
            turn = Turn(len(state.history) + 1, state.left())
            ended = await state.attempt(planned, turn)
            if ended.tokens is not None:
                slot.settle(ended.tokens)
    finally:
        _report(state.breakers, target, ended)
    state.history.append(Tried(turn.number, planned, ended))
    return ended


_NO_ILLNESS = (RateLimited, DeadlineExceeded, DeadlineUnreachable)


def _report(breakers: Breakers, target: Target, ended: Ended | None) -> None:
    """Tell the breaker: a whole answer is health, however bad; the rest says nothing: a refusal may
    be our own, a limit is no illness, a deadline is the caller's."""
    error = ended.error if isinstance(ended, Failed) else None
    if ended is not None and error is None:
        breakers.succeeded(target)
    elif isinstance(error, UpstreamError) and not isinstance(error, _NO_ILLNESS):
        breakers.failed(target)
    else:
        breakers.abandoned(target)


def _is_final(ended: Ended, planned: Planned) -> bool:
    if isinstance(ended, Delivered):
        return True
    if isinstance(ended, GateFailed):
        return False
    if ended.begun or isinstance(ended.error, DeadlineExceeded):
        return True
    error = ended.error
    if isinstance(error, RequestError):
        may_be_served_elsewhere = isinstance(error, ELSEWHERE) or error.status == NOT_FOUND or bool(planned.unproven)
        return not may_be_served_elsewhere
    return not isinstance(error, UpstreamError)


def _may_pass(error: BreakevenError) -> bool:
    return isinstance(error, UpstreamError) and error.retryable


def _overdue(state: _Run) -> Failed:
    reasons = [
        f"{tried.planned.alias}: {tried.ended.error.code}" for tried in state.history if isinstance(tried.ended, Failed)
    ]
    so_far = f" ({', '.join(reasons)})" if reasons else ""
    return Failed(
        DeadlineExceeded(
            f"no answer within the deadline of {state.plan.deadline_seconds:g} s{so_far}",
            remedy="Allow more time, or let the task turn to another model earlier (tasks.NAME.max_wait_seconds).",
        )
    )
