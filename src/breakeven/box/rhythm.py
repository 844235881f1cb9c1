"""When an agent will wake next, from the times it woke before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from breakeven.units import Seconds

REMEMBERED = 9
"""Wake-ups kept: eight gaps, so that one missed run does not move their median."""
MISSED_RUNS = 3
"""An agent that has missed so many runs in a row is switched off, or it is night: it is not expected until it wakes."""
REGULAR_WITHIN = 0.25
"""An agent is periodic while the median deviation of its gaps stays within this share of their median."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """An agent's latest wake-ups.

    Attributes:
        wakes: when they were, oldest first.
        period: median time between them, a single one taken at its word; ``None`` when they follow no period.
    """

    wakes: tuple[Seconds, ...] = ()
    period: Seconds | None = None

    def woke(self, at: Seconds) -> Rhythm:
        """The rhythm after one more wake-up."""
        wakes = (*self.wakes, at)[-REMEMBERED:]
        return Rhythm(wakes, _period(wakes))

    def next_wake(self, now: Seconds) -> Seconds | None:
        """The next expected wake-up, later than ``now``; ``None`` when none can be told.

        A run that did not happen is skipped, but not for ever (`MISSED_RUNS`), and one that is only late is still
        expected for a quarter of its period.

        >>> cron = Rhythm().woke(0.0).woke(300.0).woke(600.0)
        >>> cron.next_wake(610.0), cron.next_wake(1000.0), cron.next_wake(1700.0)
        (900.0, 1200.0, None)
        """
        period = self.period
        if period is None:
            return None
        late = now - self.wakes[-1] - REGULAR_WITHIN * period
        missed = max(0, int(late // period)) if late > 0 else 0
        if missed >= MISSED_RUNS:
            return None
        return max(now, self.wakes[-1] + period * (missed + 1))


def _period(wakes: tuple[Seconds, ...]) -> Seconds | None:
    gaps = [later - earlier for earlier, later in pairwise(wakes)]
    usual = median(gaps) if gaps else 0.0
    if usual <= 0 or median(abs(gap - usual) for gap in gaps) > REGULAR_WITHIN * usual:
        return None
    return usual
