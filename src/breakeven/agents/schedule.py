"""When agents wake: cron and intervals, time zones, what was missed, what overlaps, who is staggered. No clock inside.

Instants are Unix seconds. A tick is the nominal instant of a wake-up; with ``spread`` an agent starts a fixed offset
after its tick, so that a fleet on one cadence does not arrive at the box all at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

Overlap: TypeAlias = Literal["skip", "queue", "cancel"]
Missed: TypeAlias = Literal["latest", "all", "none"]
Verdict: TypeAlias = Literal["start", "skip", "wait", "cancel_and_start"]

GRACE_SECONDS = 30.0
"""A tick found no later than this was not missed."""
MOST_TICKS = 1000
"""Most missed ticks made up for at once with ``missed = "all"``; older ones are left out."""
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cadence: a cron expression of five fields in a time zone, or an interval counted from the epoch."""

    every: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("a time zone such as Europe/Zurich") from error
        seconds = self.interval
        if seconds is not None:
            if seconds < 1:
                raise ValueError("an interval of at least 1s")
            return
        try:
            CronSim(self.every, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(
                f"a cron expression of five fields (*/5 * * * *) or an interval (30s, 5m, 1h, 1d): {error}"
            ) from error

    @property
    def interval(self) -> float | None:
        """Seconds between ticks; ``None`` for a cron expression."""
        found = _INTERVAL.fullmatch(self.every.strip())
        return float(found[1]) * _SECONDS[found[2]] if found else None

    def after(self, instant: float) -> Iterator[float]:
        """Ticks strictly later than an instant, in order, without end; a date that never comes has none."""
        seconds = self.interval
        if seconds is not None:
            number = math.floor(instant / seconds) + 1
            while True:
                yield number * seconds
                number += 1
        start = datetime.fromtimestamp(math.floor(instant), ZoneInfo(self.zone))
        for tick in CronSim(self.every, start):
            moment = tick.timestamp()
            if moment > instant:
                yield moment

    def next(self, instant: float) -> float | None:
        """The first tick later than an instant."""
        return next(self.after(instant), None)

    def period(self, instant: float) -> float | None:
        """Seconds between the next two ticks."""
        first, second = (*islice(self.after(instant), 2), None, None)[:2]
        return second - first if first is not None and second is not None else None


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at the clock asks for.

    Attributes:
        start: ticks to start now, oldest first.
        missed: how many were left out by the policy.
        seen: the instant up to which ticks are dealt with; the next look continues there.
    """

    start: tuple[float, ...]
    missed: int
    seen: float


def due(schedule: Schedule, seen: float, now: float, *, missed: Missed, offset: float = 0.0) -> Due:
    """Which ticks to start, given up to where they were dealt with before.

    After a sleep or a stop several may have passed. ``latest`` makes up for the newest, ``all`` for each, ``none``
    for none that is older than ``GRACE_SECONDS``. When the clock was set back beyond what was dealt with, counting
    starts again from now, so that a clock that once ran ahead does not silence an agent.
    """
    reach = now - offset
    if seen > now + GRACE_SECONDS:
        following = schedule.next(now)
        if following is None or seen > following:
            return Due((), 0, reach)
    ticks: list[float] = []
    dropped = 0
    for tick in schedule.after(seen):
        if tick > reach:
            break
        ticks.append(tick)
        if len(ticks) > MOST_TICKS:
            ticks.pop(0)
            dropped += 1
    if not ticks:
        return Due((), 0, seen)
    if missed == "all":
        chosen = ticks
    elif missed == "latest" or reach - ticks[-1] <= GRACE_SECONDS:
        chosen = ticks[-1:]
    else:
        chosen = []
    return Due(tuple(chosen), dropped + len(ticks) - len(chosen), ticks[-1])


def on_overlap(policy: Overlap, *, active: int, waiting: int) -> Verdict:
    """What to do with a tick while an earlier wake-up of the same agent is still at work.

    ``queue`` lets one wake-up wait; a second one waiting would find nothing that the first does not.
    """
    if active == 0:
        return "start"
    if policy == "cancel":
        return "cancel_and_start"
    if policy == "queue" and waiting == 0:
        return "wait"
    return "skip"


def offsets(schedules: Mapping[str, Schedule], now: float) -> dict[str, float]:
    """Seconds after its tick at which each agent starts: those of one cadence are spread evenly over it."""
    by_cadence: dict[float | None, list[str]] = {}
    for name in sorted(schedules):
        by_cadence.setdefault(schedules[name].period(now), []).append(name)
    return {
        name: (period or 0.0) * place / len(names)
        for period, names in by_cadence.items()
        for place, name in enumerate(names)
    }
