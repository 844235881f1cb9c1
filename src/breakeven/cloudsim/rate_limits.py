"""The simulated cloud's rate limits: token buckets a key and model, told in each provider's own headers.

OpenAI charges a request on admission with its prompt and the most it may generate. Anthropic charges the prompt without
cache reads on admission and the output as it is generated, so that a large ``max_tokens`` costs nothing in advance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from breakeven.economics.limits import AccountLimits

Headers = list[tuple[str, str]]
UNSTATED_OUTPUT = 16
"""What OpenAI assumes a request without a limit will generate, for its rate limits."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request takes from the buckets."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted and when it would be; ``limit`` is ``RPM``, ``TPM``, ``ITPM`` or ``OTPM``."""

    limit: str
    per_minute: int
    used: int
    requested: int
    seconds: float


class Bucket:
    """Holds a minute's worth, starts full, refills steadily; what was used unannounced can bring it below zero."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    def level(self) -> float:
        """What it holds now."""
        now = self._clock()
        self._level = min(float(self.per_minute), self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level

    def wait(self, amount: float) -> float:
        """Seconds until it holds ``amount``, or is full, whichever is less."""
        return max(0.0, (min(amount, self.per_minute) - self.level()) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        """Take ``amount``, there or not."""
        self._level = self.level() - amount

    def until_full(self) -> float:
        """Seconds until it is full again."""
        return (self.per_minute - self.level()) * 60 / self.per_minute


class Account:
    """The buckets of one key at one model."""

    def __init__(self, limits: AccountLimits, clock: Callable[[], float]) -> None:
        def bucket(per_minute: int | None) -> Bucket | None:
            return None if per_minute is None else Bucket(per_minute, clock)

        self.requests = bucket(limits.requests_per_minute)
        self.tokens = bucket(limits.tokens_per_minute)
        self.input = bucket(limits.input_tokens_per_minute)
        self.output = bucket(limits.output_tokens_per_minute)

    def admit(self, demand: Demand) -> Refusal | None:
        """Take what the request needs from every bucket, or nothing from any and say which lacks it."""
        charges = [
            ("RPM", self.requests, 1),
            ("TPM", self.tokens, demand.input_tokens + demand.output_tokens),
            ("ITPM", self.input, demand.input_tokens),
            ("OTPM", self.output, 1),
        ]
        for name, bucket, amount in charges:
            if bucket is not None and (amount > bucket.per_minute or bucket.wait(amount) > 0):
                used = bucket.per_minute - int(bucket.level())
                return Refusal(name, bucket.per_minute, used, amount, bucket.wait(amount))
        for name, bucket, amount in charges:
            if bucket is not None and name != "OTPM":
                bucket.take(amount)
        return None

    def generated(self, tokens: int) -> None:
        """Charge output as it comes."""
        if self.output is not None:
            self.output.take(tokens)

    def headers(self, provider: str, now: float) -> Headers:
        """How much is left of each limit, in the provider's own words."""
        return self._openai() if provider == "openai" else self._anthropic(now)

    def _openai(self) -> Headers:
        found: Headers = []
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                found += [
                    (f"x-ratelimit-limit-{name}", str(bucket.per_minute)),
                    (f"x-ratelimit-remaining-{name}", str(max(0, int(bucket.level())))),
                    (f"x-ratelimit-reset-{name}", duration(bucket.until_full())),
                ]
        return found

    def _anthropic(self, now: float) -> Headers:
        found: Headers = []
        named = (
            ("requests", self.requests),
            ("tokens", self.tokens),
            ("input-tokens", self.input),
            ("output-tokens", self.output),
        )
        for name, bucket in named:
            if bucket is not None:
                full_at = datetime.fromtimestamp(now, UTC) + timedelta(seconds=bucket.until_full())
                found += [
                    (f"anthropic-ratelimit-{name}-limit", str(bucket.per_minute)),
                    (f"anthropic-ratelimit-{name}-remaining", str(max(0, int(bucket.level())))),
                    (f"anthropic-ratelimit-{name}-reset", full_at.strftime("%Y-%m-%dT%H:%M:%SZ")),
                ]
        return found


def duration(seconds: float) -> str:
    """A duration as OpenAI writes it.

    >>> duration(0.25), duration(7), duration(366.0)
    ('250ms', '7s', '6m6s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
