"""How long a burst takes in a cloud account: token buckets for requests and tokens a minute, simulated."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from breakeven.economics.domain import require_not_negative
from breakeven.errors import ScenarioError
from breakeven.units import Seconds, Tokens, Usd


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What one tier of a provider's account allows; ``None`` for no limit of that kind.

    Attributes:
        name: the provider's name for the tier.
        requests_per_minute: RPM.
        tokens_per_minute: TPM, on prompt and output together (OpenAI's way).
        input_tokens_per_minute / output_tokens_per_minute: apart (Anthropic's way).
        concurrent_requests: how many may be in flight at once.
        deposit_usd: what must have been paid to be given the tier.
        source: where the figures come from, with date.
    """

    name: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    deposit_usd: Usd | None = None
    source: str = "assumed"

    def __post_init__(self) -> None:
        for key in (
            "requests_per_minute",
            "tokens_per_minute",
            "input_tokens_per_minute",
            "output_tokens_per_minute",
            "concurrent_requests",
        ):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ScenarioError(f"{self.name}.{key}", value, "at least 1, or nothing for no limit")


@dataclass(frozen=True, slots=True)
class LimitedRequest:
    """One request of a chain as the limits see it.

    Attributes:
        input_tokens: prompt tokens that count against the limit; providers that do not count cache reads take
            the uncached ones here.
        output_tokens: output tokens that count; where ``max_tokens`` is charged at admission, that number.
        seconds: from admission to the last token.
    """

    input_tokens: Tokens
    output_tokens: Tokens
    seconds: Seconds

    def __post_init__(self) -> None:
        require_not_negative("request.input_tokens", self.input_tokens)
        require_not_negative("request.output_tokens", self.output_tokens)
        require_not_negative("request.seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class BurstForecast:
    """What becomes of a burst.

    Attributes:
        seconds: from the start to the end of the last chain; ``None`` when a request is larger than a limit's whole
            minute and is never admitted.
        waited_seconds: sum over requests of the time from being ready to being admitted.
        held_by: the limits that made a request wait or refused it, in alphabetical order.
    """

    seconds: Seconds | None
    waited_seconds: Seconds
    held_by: tuple[str, ...]


@dataclass(slots=True)
class _Bucket:
    """A token bucket that holds a minute's worth, starts full and refills steadily."""

    name: str
    per_minute: int
    level: float = field(init=False)
    at: Seconds = 0.0

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def ready_at(self, amount: float, now: Seconds) -> Seconds:
        level = self._level(now)
        return now if amount <= level else now + (amount - level) * 60 / self.per_minute

    def take(self, amount: float, now: Seconds) -> None:
        self.level, self.at = max(0.0, self._level(now) - amount), now

    def _level(self, now: Seconds) -> float:
        return min(float(self.per_minute), self.level + (now - self.at) * self.per_minute / 60)


def burst(chains: Sequence[Sequence[LimitedRequest]], limits: AccountLimits) -> BurstForecast:
    """Run chains that all start at once; the requests of one chain follow each other.

    Requests are admitted in the order in which they become ready, each as soon as every limit has room for it; one
    that must wait holds up those behind it, as a well-behaved client with one queue does.
    """
    buckets = _buckets(limits)
    refused = {
        bucket.name
        for bucket, amount_of in buckets
        for chain in chains
        for request in chain
        if amount_of(request) > bucket.per_minute
    }
    if refused:
        return BurstForecast(None, 0.0, tuple(sorted(refused)))

    ready = [(0.0, number, 0) for number, chain in enumerate(chains) if chain]
    heapq.heapify(ready)
    running: list[Seconds] = []
    admitted_last = finished_last = waited = 0.0
    held_by: set[str] = set()
    while ready:
        since, number, step = heapq.heappop(ready)
        request = chains[number][step]
        now = max(since, admitted_last)
        for bucket, amount_of in buckets:
            available = bucket.ready_at(amount_of(request), now)
            if available > now:
                held_by.add(bucket.name)
                now = available
        while running and running[0] <= now:
            heapq.heappop(running)
        if limits.concurrent_requests is not None and len(running) >= limits.concurrent_requests:
            held_by.add("concurrent_requests")
            now = max(now, heapq.heappop(running))
        for bucket, amount_of in buckets:
            bucket.take(amount_of(request), now)
        end = now + request.seconds
        heapq.heappush(running, end)
        waited += now - since
        admitted_last, finished_last = now, max(finished_last, end)
        if step + 1 < len(chains[number]):
            heapq.heappush(ready, (end, number, step + 1))
    return BurstForecast(finished_last, waited, tuple(sorted(held_by)))


def tier_for(
    chains: Sequence[Sequence[LimitedRequest]], tiers: Sequence[AccountLimits], within_seconds: Seconds
) -> AccountLimits | None:
    """The first of ``tiers``, given from lowest to highest, that finishes in time; ``None`` when none does."""
    for tier in tiers:
        seconds = burst(chains, tier).seconds
        if seconds is not None and seconds <= within_seconds:
            return tier
    return None


def _buckets(limits: AccountLimits) -> list[tuple[_Bucket, Callable[[LimitedRequest], int]]]:
    """The account's buckets, each with what a request takes from it."""
    drawn: tuple[tuple[str, int | None, Callable[[LimitedRequest], int]], ...] = (
        ("requests_per_minute", limits.requests_per_minute, lambda _: 1),
        ("tokens_per_minute", limits.tokens_per_minute, lambda request: request.input_tokens + request.output_tokens),
        ("input_tokens_per_minute", limits.input_tokens_per_minute, lambda request: request.input_tokens),
        ("output_tokens_per_minute", limits.output_tokens_per_minute, lambda request: request.output_tokens),
    )
    return [(_Bucket(name, limit), amount_of) for name, limit, amount_of in drawn if limit is not None]
