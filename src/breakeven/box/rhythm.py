"""When an agent will wake next, from the times it woke before."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from breakeven.units import Seconds

REMEMBERED = 9
"""Wake-ups kept: eight gaps, so that one missed run does not move their median."""
REGULAR_WITHIN = 0.25
"""An agent is periodic while the median deviation of its gaps stays within this share of their median."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """An agent's latest wake-ups, oldest first."""

    wakes: tuple[Seconds, ...] = ()

    def woke(self, at: Seconds) -> Rhythm:
        """The rhythm after one more wake-up."""
        return Rhythm((*self.wakes, at)[-REMEMBERED:])

    @property
    def period(self) -> Seconds | None:
        """Median time between wake-ups, a single one taken at its word; ``None`` when they follow no period."""
        gaps = [later - earlier for earlier, later in zip(self.wakes, self.wakes[1:], strict=False)]
        if len(gaps) < 2:
            return gaps[0] if gaps else None
        usual = median(gaps)
        return usual if median(abs(gap - usual) for gap in gaps) <= REGULAR_WITHIN * usual else None

    def next_wake(self, now: Seconds) -> Seconds | None:
        """The next expected wake-up, later than ``now``; ``None`` when none can be told.

        A run that did not happen is skipped, and one that is only late is still expected for a quarter of its period.

        >>> Rhythm((0.0, 300.0, 600.0)).next_wake(610.0)
        900.0
        >>> Rhythm((0.0, 300.0, 600.0)).next_wake(1000.0)
        1200.0
        """
        period = self.period
        if period is None or period <= 0:
            return None
        late = now - self.wakes[-1] - REGULAR_WITHIN * period
        missed = max(0, int(late // period)) if late > 0 else 0
        return max(now, self.wakes[-1] + period * (missed + 1))
