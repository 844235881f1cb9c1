"""A provider's limits kept on this side: calls queue here instead of being turned down there."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from breakeven.config import ProviderSettings
from breakeven.errors import RateLimited
from breakeven.routing.breaker import Clock

WINDOW_SECONDS = 61.0
"""A minute and one second, since calls take different times to get there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows; ``None`` is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    @classmethod
    def of(cls, settings: ProviderSettings) -> Limits:
        """As configured."""
        return cls(settings.requests_per_minute, settings.tokens_per_minute, settings.concurrency)


NO_LIMITS = Limits()


@dataclass(slots=True)
class Charge:
    """What a call took from a window, and when."""

    at: float
    amount: int
    counted: bool = True


class Window:
    """At most ``limit`` within any ``seconds``: it holds whether the provider counts fixed minutes or refills steadily.

    Times are given to it, so that it needs no clock.
    """

    def __init__(self, limit: int, seconds: float = WINDOW_SECONDS) -> None:
        self.limit = limit
        self._seconds = seconds
        self._charges: deque[Charge] = deque()
        self._used = 0

    def used(self, now: float) -> int:
        """What was taken within the last ``seconds``."""
        while self._charges and self._charges[0].at <= now - self._seconds:
            charge = self._charges.popleft()
            charge.counted = False
            self._used -= charge.amount
        return self._used

    def wait(self, amount: int, now: float) -> float:
        """Seconds until ``amount`` may be taken; more than the limit may be taken once nothing else is."""
        excess = self.used(now) + min(amount, self.limit) - self.limit
        if excess <= 0:
            return 0.0
        for charge in self._charges:
            excess -= charge.amount
            if excess <= 0:
                return charge.at + self._seconds - now
        return self._seconds

    def take(self, amount: int, now: float) -> Charge:
        """Take it, whether or not it may be."""
        charge = Charge(now, amount)
        self._charges.append(charge)
        self._used += amount
        return charge

    def settle(self, charge: Charge, amount: int) -> None:
        """Replace what a call was expected to take by what it took."""
        if charge.counted:
            self._used += amount - charge.amount
        charge.amount = amount


class Slot:
    """Leave to call a provider once."""

    def __init__(self, window: Window | None = None, charge: Charge | None = None) -> None:
        self._window = window
        self._charge = charge

    def settle(self, tokens: int) -> None:
        """Replace the estimate by the tokens that were used."""
        if self._window is not None and self._charge is not None:
            self._window.settle(self._charge, tokens)


_ANY_TIME = nullcontext(Slot())
"""Where nothing is limited, which is the rule."""


class Limiter:
    """The queue in front of one provider: first come, first served, none longer than its deadline."""

    def __init__(self, provider: str, limits: Limits, clock: Clock = time.monotonic) -> None:
        self.limits = limits
        self._provider = provider
        self._clock = clock
        self._requests = Window(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Window(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._free = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._waiting

    def wait(self, tokens: int = 0) -> float:
        """Seconds until a call at the head of the queue could go, free slots aside."""
        now = self._clock()
        by_requests = self._requests.wait(1, now) if self._requests is not None else 0.0
        by_tokens = self._tokens.wait(tokens, now) if self._tokens is not None else 0.0
        return max(by_requests, by_tokens)

    def slot(self, tokens: int = 0, within: float | None = None) -> AbstractAsyncContextManager[Slot]:
        """Wait for the call's turn, and hold a place among the calls in flight while it runs.

        Args:
            tokens: what it is expected to use.
            within: seconds it may wait.

        Raises:
            RateLimited: when its turn does not come in time.
        """
        return _ANY_TIME if self.limits == NO_LIMITS else self._queued(tokens, within)

    @asynccontextmanager
    async def _queued(self, tokens: int, within: float | None) -> AsyncIterator[Slot]:
        self._waiting += 1
        try:
            async with asyncio.timeout(within):
                slot = await self._acquire(tokens, within)
        except TimeoutError as error:
            raise self._too_late(within) from error
        finally:
            self._waiting -= 1
        try:
            yield slot
        finally:
            if self._free is not None:
                self._free.release()

    async def _acquire(self, tokens: int, within: float | None) -> Slot:
        async with self._turn:
            if self._free is not None:
                await self._free.acquire()
            try:
                while (seconds := self.wait(tokens)) > 0:
                    if within is not None and seconds >= within:
                        raise self._too_late(within)
                    await asyncio.sleep(seconds)
            except BaseException:
                if self._free is not None:
                    self._free.release()
                raise
            now = self._clock()
            if self._requests is not None:
                self._requests.take(1, now)
            charge = self._tokens.take(tokens, now) if self._tokens is not None else None
            return Slot(self._tokens, charge)

    def _too_late(self, within: float | None) -> RateLimited:
        return RateLimited(
            f"{self._provider}: the configured limits leave no room within {within:g} s",
            remedy=f"Send it later, or look at the limits in providers.{self._provider}.",
            retry_after_seconds=max(1, round(self.wait())),
        )


class Limiters:
    """The limiters of all providers; one without limits costs next to nothing."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._limiters: dict[str, Limiter] = {}

    def of(self, provider: str) -> Limiter:
        """The limiter in front of a provider."""
        limiter = self._limiters.get(provider)
        if limiter is None:
            limiter = self._limiters[provider] = Limiter(provider, NO_LIMITS, self._clock)
        return limiter

    def reconfigure(self, limits: dict[str, Limits], keep: Callable[[str], bool]) -> None:
        """Take on other limits. What was used is remembered where the limits stay and ``keep`` says that the provider
        is the same; calls in flight end under the limits that they began with."""
        kept = {
            name: limiter
            for name, limiter in self._limiters.items()
            if keep(name) and limiter.limits == limits.get(name, NO_LIMITS)
        }
        fresh = {name: Limiter(name, limit, self._clock) for name, limit in limits.items() if name not in kept}
        self._limiters = {**kept, **fresh}
