"""Who keeps the box busy: wall time shared equally among the calls that run at once.

Virtual time V advances by dt/n while n calls run. A call that runs from V₁ to V₂ kept the box busy for V₂ − V₁
seconds of its own, so the shares of all calls add up to the time the box was busy, and never to more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from breakeven.units import Seconds

Ticket: TypeAlias = float
"""Virtual time at which a call entered."""


class Occupancy:
    """Counts calls in and out in constant time; ``clock`` gives seconds and never goes back.

    The state is one tuple replaced whole, so that another thread reads it consistently. Counting in and out is for
    one thread alone.
    """

    def __init__(self, clock: Callable[[], Seconds] = time.perf_counter) -> None:
        self._clock = clock
        now = clock()
        self._state = (now, 0, now - now, now - now)  # when, calls running, virtual time, busy time

    @property
    def running(self) -> int:
        """Calls in the box now."""
        return self._state[1]

    @property
    def busy_seconds(self) -> Seconds:
        """Wall time in which at least one call ran, up to now."""
        since, running, _, busy = self._state
        return busy + (self._clock() - since) if running else busy

    def enter(self) -> Ticket:
        """A call begins; hand the ticket back to `leave` exactly once."""
        return self._step(1)

    def leave(self, ticket: Ticket) -> Seconds:
        """A call ends; returns its share of the box's wall time."""
        return self._step(-1) - ticket

    def _step(self, change: int) -> Seconds:
        since, running, virtual, busy = self._state
        now = self._clock()
        if running:
            elapsed = now - since
            virtual += elapsed / running
            busy += elapsed
        self._state = (now, running + change, virtual, busy)
        return virtual
