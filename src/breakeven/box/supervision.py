"""How closely the child process of the embedded engine is watched. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Supervision:
    """How closely the child is watched, in seconds.

    Attributes:
        check_every: pause between health checks.
        check_timeout: how long one may take.
        checks_missed: consecutive failures after which the child counts as hung and is killed.
        backoff_first / backoff_most: pause before the first restart, doubled for each one after up to the most.
        stable_after: uptime after which the next restart starts from ``backoff_first`` again.
        canary_timeout: how long the canary's answer may take.
        stop_grace: from SIGTERM to SIGKILL.
    """

    check_every: float = 5.0
    check_timeout: float = 5.0
    checks_missed: int = 3
    canary_timeout: float = 60.0
    backoff_first: float = 0.25
    backoff_most: float = 60.0
    stable_after: float = 120.0
    stop_grace: float = 5.0

    def backoff(self, failures: int, jitter: float) -> float:
        """Pause before restart number ``failures``, spread by up to a half by ``jitter`` in [0, 1)."""
        doubled: float = self.backoff_first * 2.0 ** min(failures - 1, 30)
        return min(self.backoff_most, doubled) * (0.5 + jitter / 2)
