"""How long a call would take at a target if it were sent there now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from breakeven.box.dispatcher import Dispatcher
from breakeven.box.occupancy import Occupancy
from breakeven.box.speed import CallSpeed
from breakeven.providers.base import NO_HINTS, Hints
from breakeven.routing.breaker import Target
from breakeven.routing.table import Route

PROMPT_TOKENS_PER_OUTPUT_TOKEN = 10
"""Prompt tokens that take about as long as one output token: 8 on a Mac, 20 on a pair of RTX 3090, for a 70B model."""
NEWEST_SHARE = 0.2
"""Weight of the newest call in the mean, so that about the last ten count."""


class WaitForecast(Protocol):
    """Predicts for `breakeven.routing.facts.TargetState.wait_seconds`."""

    def seconds(self, route: Route, prompt_tokens: int, output_tokens: int, hints: Hints = NO_HINTS) -> float | None:
        """Seconds until the whole answer is there: queue, loading, prefill, decode; ``None`` when nobody can tell."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A provider that knows its queue, its slots and what they have computed."""

    @property
    def dispatcher(self) -> Dispatcher:
        """Its queue."""
        ...


def as_usual(_target: Target) -> float:
    """Nothing is slower than usual."""
    return 1.0


def no_speed(_target: Target) -> CallSpeed | None:
    """Nothing was measured."""
    return None


class RecentForecast:
    """From the speed that was measured of a target, else from its latest calls; calls on the box share it equally.

    A queue of ours in front of the engine knows better and is asked first. Else a call's work is counted in output
    tokens, with ten prompt tokens for one. That is rough, and it leaves prompts that are cached out of account.

    Args:
        slowdown: how many times longer than usual calls take at a target now; what was measured once does not show it.
    """

    def __init__(
        self,
        occupancy: Occupancy,
        speed_of: Callable[[Target], CallSpeed | None] = no_speed,
        slowdown: Callable[[Target], float] = as_usual,
    ) -> None:
        self._occupancy = occupancy
        self._speed_of = speed_of
        self._slowdown = slowdown
        self._seconds_per_work: dict[Target, float] = {}

    def observe(self, route: Route, prompt_tokens: int, output_tokens: int, seconds: float) -> None:
        """A call was answered.

        Args:
            seconds: its share of the box's time (`Occupancy.leave`) for a local target, else how long it took.
        """
        work = _work(prompt_tokens, output_tokens)
        if work <= 0:
            return
        target = (route.provider.name, route.model)
        before = self._seconds_per_work.get(target, seconds / work)
        self._seconds_per_work[target] = before + NEWEST_SHARE * (seconds / work - before)

    def seconds(
        self,
        route: Route,
        prompt_tokens: int,
        output_tokens: int,
        hints: Hints = NO_HINTS,
    ) -> float | None:
        """See `WaitForecast.seconds`."""
        if isinstance(route.provider, Foreseeing):
            foreseen = route.provider.dispatcher.foresee(hints, prompt_tokens, output_tokens)
            if foreseen is not None:
                return foreseen
        target = (route.provider.name, route.model)
        local = route.provider.locality == "local"
        parallel = self._occupancy.running + 1 if local else 1
        speed = self._speed_of(target) if local else None
        if speed is not None:
            return speed.seconds(prompt_tokens, output_tokens, prompt_tokens, parallel) * self._slowdown(target)
        seconds_per_work = self._seconds_per_work.get(target)
        return None if seconds_per_work is None else seconds_per_work * _work(prompt_tokens, output_tokens) * parallel


def _work(prompt_tokens: int, output_tokens: int) -> float:
    return prompt_tokens / PROMPT_TOKENS_PER_OUTPUT_TOKEN + output_tokens
