"""Circuit breakers: a model of a provider that keeps failing is left alone, then tried by one call, then by all.

closed ──``failures`` within ``window_seconds``──▶ open ──cooldown──▶ half open ──success──▶ closed
                                                    ▲                    │
                                                    └──────failure───────┘   with twice the cooldown
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from breakeven.config import PolicySettings
from breakeven.routing.facts import BreakerState

Clock: TypeAlias = Callable[[], float]
"""Gives seconds and never goes back."""
Jitter: TypeAlias = Callable[[], float]
"""Gives a number from 0 up to 1, at random."""
Target: TypeAlias = tuple[str, str]
"""A provider and a model of it."""

MOST_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long; all times in seconds."""

    failures: int = 5
    window: float = 60.0
    cooldown: float = 30.0

    @classmethod
    def of(cls, policy: PolicySettings) -> BreakerPolicy:
        """As configured."""
        return cls(policy.breaker_failures, policy.breaker_window_seconds, policy.breaker_cooldown_seconds)


class Peers(Protocol):
    """Other gateways that want to know of a verdict, for instance through a table of a shared database."""

    def opened(self, target: Target, seconds: float) -> None:
        """The target failed repeatedly here and is left alone for so long."""
        ...

    def closed(self, target: Target) -> None:
        """The target answers again."""
        ...


class NoPeers:
    """This gateway is the only one."""

    def opened(self, target: Target, seconds: float) -> None:
        """Nobody to tell."""

    def closed(self, target: Target) -> None:
        """Nobody to tell."""


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker as it stands: its state, recent failures, and seconds until it may be tried again."""

    state: BreakerState
    failures: int
    rest_seconds: float


class Breaker:
    """The breaker of one target. Times are given to it, so that it needs no clock."""

    def __init__(self, policy: BreakerPolicy, jitter: Jitter = random.random) -> None:
        self.policy = policy
        self._jitter = jitter
        self._failed_at: deque[float] = deque()
        self._open_until: float | None = None
        self._doublings = 0
        self._probing = False

    def state(self, now: float) -> BreakerState:
        """Whether calls pass, none does, or one may try."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half_open"

    def admit(self, now: float) -> bool:
        """Whether a call may go now; each admitted call reports `succeeded`, `failed` or `abandoned` exactly once."""
        state = self.state(now)
        if state == "half_open" and not self._probing:
            self._probing = True
            return True
        return state == "closed"

    def succeeded(self) -> bool:
        """An admitted call was answered; returns whether that closed the breaker."""
        was_open = self._open_until is not None
        self._failed_at.clear()
        self._open_until, self._doublings, self._probing = None, 0, False
        return was_open

    def failed(self, now: float) -> float | None:
        """An admitted call failed; returns for how many seconds the breaker opens, ``None`` when it stays closed."""
        if self._open_until is not None:
            self._probing = False
            if now < self._open_until:  # a straggler from before it opened
                return None
            self._doublings = min(self._doublings + 1, MOST_DOUBLINGS)
            return self.open(now, self._cooldown())
        self._failed_at.append(now)
        self._forget_before(now - self.policy.window)
        return self.open(now, self._cooldown()) if len(self._failed_at) >= self.policy.failures else None

    def abandoned(self) -> None:
        """An admitted call says nothing about the target: it was withdrawn, or its rate was limited."""
        self._probing = False

    def open(self, now: float, seconds: float) -> float:
        """Leave the target alone for so long, also on the word of a peer."""
        self._open_until = max(self._open_until or now, now + seconds)
        return seconds

    def close(self) -> None:
        """The target answers again, on the word of a peer."""
        self.succeeded()

    def snapshot(self, now: float) -> BreakerSnapshot:
        """How it stands."""
        self._forget_before(now - self.policy.window)
        rest = max(0.0, (self._open_until or now) - now)
        return BreakerSnapshot(self.state(now), len(self._failed_at), rest)

    def _cooldown(self) -> float:
        # Between one and one and a half times as long, so that several gateways do not come back at once.
        return self.policy.cooldown * 2.0**self._doublings * (1 + self._jitter() / 2)

    def _forget_before(self, since: float) -> None:
        while self._failed_at and self._failed_at[0] < since:
            self._failed_at.popleft()


class Breakers:
    """The breakers of all targets, made as they are needed."""

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        clock: Clock = time.monotonic,
        jitter: Jitter = random.random,
        peers: Peers | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._peers: Peers = peers or NoPeers()
        self._breakers: dict[Target, Breaker] = {}

    def state(self, target: Target) -> BreakerState:
        """How a target's breaker stands; closed for one never seen."""
        breaker = self._breakers.get(target)
        return "closed" if breaker is None else breaker.state(self._clock())

    def admit(self, target: Target) -> bool:
        """See `Breaker.admit`."""
        return self._of(target).admit(self._clock())

    def succeeded(self, target: Target) -> None:
        """See `Breaker.succeeded`."""
        if self._of(target).succeeded():
            self._peers.closed(target)

    def failed(self, target: Target) -> None:
        """See `Breaker.failed`."""
        seconds = self._of(target).failed(self._clock())
        if seconds is not None:
            self._peers.opened(target, seconds)

    def abandoned(self, target: Target) -> None:
        """See `Breaker.abandoned`."""
        self._of(target).abandoned()

    def adopt(self, target: Target, rest_seconds: float | None) -> None:
        """A peer's verdict: leave the target alone for so long, or ``None``: it answers again."""
        breaker = self._of(target)
        if rest_seconds is None:
            breaker.close()
        else:
            breaker.open(self._clock(), rest_seconds)

    def snapshot(self) -> Mapping[Target, BreakerSnapshot]:
        """How all stand that have been used."""
        now = self._clock()
        return {target: breaker.snapshot(now) for target, breaker in self._breakers.items()}

    def reconfigure(self, policy: BreakerPolicy, keep: Callable[[Target], bool]) -> None:
        """Take on another policy; forget the breakers of targets that are gone."""
        self._policy = policy
        for target in [target for target in self._breakers if not keep(target)]:
            del self._breakers[target]
        for breaker in self._breakers.values():
            breaker.policy = policy

    def _of(self, target: Target) -> Breaker:
        breaker = self._breakers.get(target)
        if breaker is None:
            breaker = self._breakers[target] = Breaker(self._policy, self._jitter)
        return breaker
