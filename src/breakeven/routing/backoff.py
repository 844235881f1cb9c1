"""How long to wait before a failed call is tried again: full jitter, or what the provider asks for."""

from __future__ import annotations

from dataclasses import dataclass

from breakeven.config import PolicySettings


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently the same target is tried again; times in seconds.

    Attributes:
        retries: after the first try.
        base / most: longest wait before the first retry, and before any.
    """

    retries: int = 2
    base: float = 0.5
    most: float = 30.0

    @classmethod
    def of(cls, policy: PolicySettings) -> RetryPolicy:
        """As configured."""
        return cls(policy.retries, policy.backoff_seconds, policy.backoff_max_seconds)


def wait_seconds(
    policy: RetryPolicy,
    retry: int,
    jitter: float,
    *,
    asked: float | None = None,
    left: float | None = None,
    alternative: bool = False,
) -> float | None:
    """Seconds until retry number ``retry`` (from 0); ``None`` when it is not worth waiting for.

    The wait is drawn evenly from 0 up to base · 2^retry. A provider that asks for longer is given what it asks for,
    as long as that is no more than ``most``, or than our own longest wait when there is an alternative to turn to.

    Args:
        jitter: a random number from 0 up to 1.
        asked: the provider's ``Retry-After``.
        left: until the deadline; a wait that reaches it is not worth it.
        alternative: whether another target could be asked instead.

    >>> wait_seconds(RetryPolicy(retries=2, base=0.5, most=30), 1, 0.5)
    0.5
    >>> wait_seconds(RetryPolicy(), 0, 0.5, asked=7)
    7
    >>> wait_seconds(RetryPolicy(), 0, 0.5, asked=7, alternative=True) is None
    True
    """
    if retry >= policy.retries:
        return None
    ceiling = min(policy.most, policy.base * 2.0**retry)
    wait = jitter * ceiling
    if asked is not None:
        if asked > (ceiling if alternative else policy.most):
            return None
        wait = max(wait, asked)
    return None if left is not None and wait >= left else wait
