"""Rate limits of keys: token buckets, counted in each gateway process by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from breakeven.accounts.keys import Caller
from breakeven.errors import RateExceeded

SECONDS_PER_MINUTE = 60.0


class Bucket(NamedTuple):
    """Room for ``capacity`` a minute, refilled evenly, as of ``at`` seconds; negative ``level`` is debt."""

    capacity: int
    level: float
    at: float

    @classmethod
    def full(cls, capacity: int, now: float) -> Bucket:
        """A bucket that nobody drew from yet."""
        return cls(capacity, capacity, now)

    def refilled(self, now: float) -> Bucket:
        """The bucket at a later moment."""
        gained = max(0.0, now - self.at) * self.capacity / SECONDS_PER_MINUTE
        return Bucket(self.capacity, min(self.capacity, self.level + gained), max(now, self.at))

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` fits. More than the bucket can ever hold fits when it is full, and runs into debt.

        >>> Bucket(60, 0.5, at=0).wait(1), Bucket(60, 60, at=0).wait(100)
        (0.5, 0.0)
        """
        return max(0.0, min(amount, self.capacity) - self.level) * SECONDS_PER_MINUTE / self.capacity

    def drawn(self, amount: float) -> Bucket:
        """The bucket after ``amount`` is taken, or with a negative one put back."""
        return self._replace(level=min(self.capacity, self.level - amount))


class Throttle:
    """The limits of all keys, each on requests and on tokens a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}

    def admit(self, caller: Caller, tokens: int) -> None:
        """Let a request of about ``tokens`` tokens pass and count it.

        Raises:
            RateExceeded: it is over a limit; nothing is counted.
        """
        if caller.name is None or (caller.rpm is None and caller.tpm is None):
            return
        now = self._clock()
        requests = self._bucket(self._requests, caller.name, caller.rpm, now)
        budget = self._bucket(self._tokens, caller.name, caller.tpm, now)
        for bucket, amount, unit in ((requests, 1, "requests"), (budget, tokens, "tokens")):
            if bucket is not None and (wait := bucket.wait(amount)) > 0:
                raise RateExceeded(
                    f"key {caller.name!r} is over its {bucket.capacity:,} {unit} a minute",
                    remedy=f"Try again in {math.ceil(wait)} s.",
                    retry_after_seconds=math.ceil(wait),
                )
        if requests is not None:
            self._requests[caller.name] = requests.drawn(1)
        if budget is not None:
            self._tokens[caller.name] = budget.drawn(tokens)

    def correct(self, caller: Caller, tokens: int) -> None:
        """Count ``tokens`` more (or fewer) than ``admit`` was told, now that they are known."""
        if caller.name is not None and caller.tpm is not None:
            bucket = self._bucket(self._tokens, caller.name, caller.tpm, self._clock())
            if bucket is not None:
                self._tokens[caller.name] = bucket.drawn(tokens)

    def _bucket(self, buckets: dict[str, Bucket], name: str, capacity: int | None, now: float) -> Bucket | None:
        if capacity is None:
            return None
        bucket = buckets.get(name)
        if bucket is None or bucket.capacity != capacity:
            return Bucket.full(capacity, now)
        return bucket.refilled(now)
