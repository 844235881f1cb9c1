"""Whether a model's first call after a long silence is about to come, by the books of the last two weeks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from breakeven.box.books import reading
from breakeven.box.day_rhythm import DAY, WEEK, first_calls, next_first_call
from breakeven.config import LedgerSettings
from breakeven.errors import LedgerError
from breakeven.units import Seconds

log = logging.getLogger(__name__)

LEAD: Seconds = 300.0
"""Before the call, for models that take minutes to load."""
READ_EVERY: Seconds = 6 * 3600.0


class FirstCalls:
    """Looks them up, anew every six hours.

    Args:
        silence: seconds without a call after which a model is dropped.
        clock: Unix time.
        utc_offset: seconds that the clock on the wall is ahead of UTC, at a Unix time.
    """

    def __init__(
        self,
        settings: LedgerSettings,
        home: Path,
        silence: Seconds,
        *,
        clock: Callable[[], float] = time.time,
        utc_offset: Callable[[float], float] = lambda at: time.localtime(at).tm_gmtoff,
    ) -> None:
        self._settings, self._home, self._silence = settings, home, silence
        self._clock, self._utc_offset = clock, utc_offset
        self._known: dict[str, tuple[float, list[Seconds]]] = {}

    async def due(self, model: str) -> bool:
        """Whether a call for it is expected within `LEAD`."""
        now = self._clock()
        read_at, firsts = self._known.get(model, (-READ_EVERY, []))
        if now - read_at >= READ_EVERY:
            firsts = await asyncio.to_thread(self._read, model, now)
            self._known[model] = now, firsts
        wall = now + self._utc_offset(now)
        expected = next_first_call(firsts, wall)
        return expected is not None and expected - wall <= LEAD

    def _read(self, model: str, now: float) -> list[Seconds]:
        try:
            with reading(self._settings, self._home) as store:
                active = store.active_times(now - (2 * WEEK + 1) * DAY, now, model=model)
        except LedgerError as error:
            log.warning("when %s will be called first is not known: %s", model, error)
            return []
        return first_calls([at + self._utc_offset(at) for at in active], self._silence)
