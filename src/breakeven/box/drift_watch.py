"""Watches for slowdowns while calls are served: tells of them, and has fewer calls served at once where that helps.

What is slow is decided by `breakeven.box.drift.find_drift`, how many calls a box takes at once by `adjust`, both from
readings and the time alone:

1. A slowdown that fewer calls would mend (memory, heat) halves what the box serves at once, and again while it lasts,
   down to one call.
2. Once it is over one more call is let in, and one more again, up to all slots.
3. Between two changes, and before the first one up, lie `SETTLE_SECONDS`: what is judged is then all from after.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from breakeven.box.drift import Baseline, Cause, Drift, Strain, Timing, find_drift
from breakeven.box.timings import MOST_AT_ONCE, timing_of
from breakeven.ledger.records import Call
from breakeven.units import Seconds

log = logging.getLogger(__name__)

LOOK_SECONDS: Seconds = 10.0
RECENT_SECONDS: Seconds = 300.0
"""Calls and readings of so long ago are held against those before."""
REMEMBERED_TIMINGS = 2000
"""Of a target, to tell what is usual."""
ENDED_SECONDS: Seconds = 60.0
"""A slowdown that was not seen for so long has ended: one that comes and goes is told of once."""
SETTLE_SECONDS: Seconds = RECENT_SECONDS

Target: TypeAlias = tuple[str, str]
"""Provider and model."""


class Box(Protocol):
    """A queue in front of slots."""

    @property
    def slots(self) -> int:
        """Calls that an engine of it can serve at once; 0 before any is up."""
        ...

    def serve_at_once(self, calls: int | None) -> None:
        """Serve no more than so many at once on each engine; ``None`` for as many as there are slots."""
        ...


@dataclass(frozen=True, slots=True)
class AtOnce:
    """How many calls a box serves at once.

    Attributes:
        calls: now; ``None`` for as many as it has slots.
        changed_at: when that was last changed.
        helps_until: when fewer were last known to help.
    """

    calls: int | None = None
    changed_at: Seconds = -1e9
    helps_until: Seconds = -1e9


def adjust(before: AtOnce, slots: int, now: Seconds, *, fewer_help: bool) -> AtOnce:
    """How many calls to serve at once from now on; by the rules above.

    >>> hot = adjust(AtOnce(), 4, 0.0, fewer_help=True)
    >>> hot.calls, adjust(hot, 4, 30.0, fewer_help=True).calls, adjust(hot, 4, 300.0, fewer_help=True).calls
    (2, 2, 1)
    """
    if not slots:
        return before
    calls = slots if before.calls is None else min(before.calls, slots)
    settled = now - before.changed_at >= SETTLE_SECONDS
    if fewer_help:
        seen = replace(before, helps_until=now)
        return replace(seen, calls=max(1, calls // 2), changed_at=now) if settled and calls > 1 else seen
    if before.calls is None or not settled or now - before.helps_until < SETTLE_SECONDS:
        return before
    return replace(before, calls=None if calls + 1 >= slots else calls + 1, changed_at=now)


@dataclass(slots=True)
class _Seen:
    usual: deque[Timing]
    recent: deque[Timing]
    drift: Drift | None = None
    seen_at: Seconds = 0.0
    told: Cause | None = None
    told_at: Seconds = 0.0


class DriftWatch:
    """Follows the calls that machines of one's own serve, and what strains this one.

    Args:
        read_strain: since its last reading; may block.
        clock: Unix time.
    """

    def __init__(
        self,
        read_strain: Callable[[], Strain],
        *,
        clock: Callable[[], Seconds] = time.time,
        sleep: Callable[[Seconds], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read_strain, self._clock, self._sleep = read_strain, clock, sleep
        self._seen: dict[Target, _Seen] = {}
        self._strains: deque[tuple[Seconds, Strain]] = deque()
        self._here: frozenset[str] = frozenset()
        self._boxes: Mapping[str, Box] = {}
        self._at_once: dict[str, AtOnce] = {}

    def configure(self, here: Iterable[str], boxes: Mapping[str, Box]) -> None:
        """Take on a configuration.

        Args:
            here: providers that run on this machine, so that what strains it slows them.
            boxes: those of them whose queue is ours.
        """
        self._here, self._boxes = frozenset(here), boxes
        self._at_once = {name: self._at_once.get(name, AtOnce()) for name in boxes}
        for name, box in boxes.items():
            box.serve_at_once(self._at_once[name].calls)

    def observe(self, call: Call) -> None:
        """A call has entered the books, or did on an earlier day."""
        for attempt in call.attempts:
            box = self._boxes.get(attempt.provider)
            timing = timing_of(call, attempt, at_once=(box.slots if box is not None else 0) or MOST_AT_ONCE)
            if timing is not None:
                target = attempt.provider, attempt.model_asked
                if target not in self._seen:
                    self._seen[target] = _Seen(deque(maxlen=REMEMBERED_TIMINGS), deque(maxlen=REMEMBERED_TIMINGS))
                self._seen[target].recent.append(timing)

    @property
    def drifts(self) -> dict[Target, Drift]:
        """The slowdowns of now."""
        return {target: seen.drift for target, seen in self._seen.items() if seen.drift is not None}

    @property
    def limits(self) -> dict[str, int]:
        """Boxes that serve fewer calls at once than they could, and how many."""
        return {name: state.calls for name, state in self._at_once.items() if state.calls is not None}

    def slowdown(self, target: Target) -> float:
        """Times longer than usual that calls take there now."""
        seen = self._seen.get(target)
        return 1.0 if seen is None or seen.drift is None or seen.drift.times is None else seen.drift.times

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._sleep(LOOK_SECONDS)
            self.look(await asyncio.to_thread(self._read_strain))

    def look(self, strain: Strain) -> None:
        """Judge the calls of the last minutes, tell what has changed, and act."""
        now = self._clock()
        self._strains.append((now, strain))
        while now - self._strains[0][0] > RECENT_SECONDS:
            self._strains.popleft()
        strained = _together([one for _, one in self._strains])
        for target, seen in self._seen.items():
            self._judge(target, seen, strained if target[0] in self._here else Strain(), now)
        for name, box in self._boxes.items():
            self._adjust(name, box, now)

    def _judge(self, target: Target, seen: _Seen, strain: Strain, now: Seconds) -> None:
        while seen.recent and now - seen.recent[0].at > RECENT_SECONDS:
            timing = seen.recent.popleft()
            if seen.drift is None:
                seen.usual.append(timing)
        found = find_drift(tuple(seen.recent), Baseline.of(seen.usual), strain) if seen.recent else None
        before = seen.drift
        if found is not None:
            seen.drift, seen.seen_at = found, now
            another = found.cause is not seen.told and now - seen.told_at >= RECENT_SECONDS
            if before is None or another:  # causes that alternate are not told of each time
                seen.told, seen.told_at = found.cause, now
                log.warning("%s of %s, %s: %s. %s", target[1], target[0], found.cause, found.says, found.action)
        elif before is not None and now - seen.seen_at >= ENDED_SECONDS:
            seen.drift = None
            log.info("%s of %s is over: calls take as long as usual", before.cause, "/".join(target))

    def _adjust(self, name: str, box: Box, now: Seconds) -> None:
        drifts = [drift for target, drift in self.drifts.items() if target[0] == name]
        before = self._at_once[name]
        after = self._at_once[name] = adjust(before, box.slots, now, fewer_help=any(d.fewer_at_once for d in drifts))
        if after.calls == before.calls:
            return
        box.serve_at_once(after.calls)
        why = "until it is better" if any(d.fewer_at_once for d in drifts) else "since it is better"
        log.warning("%s serves %d of %d calls at once %s", name, after.calls or box.slots, box.slots, why)


def _together(strains: list[Strain]) -> Strain:
    """The strain of a stretch of time from that of its parts."""

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Strain(
        mean([strain.cpu_share for strain in strains]),
        mean([strain.memory_share for strain in strains]),
        mean([strain.swap_bytes_per_second for strain in strains]),
        tuple(dict.fromkeys(words for strain in strains for words in strain.throttled)),
    )
