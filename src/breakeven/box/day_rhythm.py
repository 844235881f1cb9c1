"""When the first call after a long silence is expected: each morning, or after the weekend. Pure.

Times are seconds of the clock on the wall, so that a change to summer time moves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from breakeven.units import Seconds

DAY: Seconds = 86_400.0
WEEK = 7
NEAR: Seconds = 1800.0
"""Two days begin alike when their first calls lie no further apart in the time of day."""


def first_calls(active: Sequence[Seconds], silence: Seconds) -> list[Seconds]:
    """Times at which something was called after more than so long a silence, the very first included.

    Args:
        active: times at which anything was called, in order.

    >>> first_calls([0.0, 600.0, 9000.0, 9600.0], 3600.0)
    [0.0, 9000.0]
    """
    return [*active[:1], *(later for earlier, later in pairwise(active) if later - earlier > silence)]


def next_first_call(firsts: Sequence[Seconds], now: Seconds) -> Seconds | None:
    """The next one expected, later than ``now``; ``None`` when none can be told.

    One is expected where there was one at that time of day on each of the two days before, unless the same day of the
    last week was free of them; or a week before, and on some other day of the last two weeks.

    >>> mornings = [day * DAY + 8 * 3600 for day in range(3)]
    >>> next_first_call(mornings, 2 * DAY + 20 * 3600) == 3 * DAY + 8 * 3600
    True
    """
    times = sorted(firsts)
    coming = sorted({first + days * DAY for first in times for days in (1, WEEK) if first + days * DAY > now})
    return next((at for at in coming if _expected(times, at)), None)


def _expected(times: Sequence[Seconds], at: Seconds) -> bool:
    def was(*days: int) -> bool:
        return all(_has_near(times, at - day * DAY, NEAR) for day in days)

    free = times[0] < at - WEEK * DAY - NEAR and not _has_near(times, at - WEEK * DAY, DAY / 2)
    others = (day for day in range(2, 2 * WEEK + 1) if day != WEEK)
    return (was(1, 2) and not free) or (was(WEEK) and any(was(day) for day in others))


def _has_near(times: Sequence[Seconds], at: Seconds, within: Seconds) -> bool:
    place = bisect_left(times, at - within)
    return place < len(times) and times[place] <= at + within
