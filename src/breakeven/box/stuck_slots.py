"""When a slot counts as stuck, and how slots are given back whose callers have left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from math import inf, isfinite

from breakeven.box.backend import BoxBackend, SlotAccess
from breakeven.box.pool import Pool
from breakeven.box.scheduler import Start
from breakeven.box.work import Work
from breakeven.errors import EngineUnavailable
from breakeven.units import Seconds

log = logging.getLogger(__name__)

BUSY_POLL_SECONDS = 0.1
STUCK_AFTER_TIMES = 10.0
"""What takes so many times as long as it usually does at worst will not come any more."""
SHORTEST_SILENCE_SECONDS = 30.0
"""For which an engine may say nothing of a call, however fast it usually is: the machine may be busy otherwise."""


class StuckSlots:
    """Tells slow slots from stuck ones, which it has freed by loading their engine anew.

    Args:
        backends: the pool's engines by name.
        changed: called once the pool may decide otherwise than before.
        shortest_silence: for which an engine may say nothing of a call before that counts as stuck.
    """

    def __init__(
        self,
        pool: Pool,
        backends: Mapping[str, BoxBackend],
        changed: Callable[[], None],
        *,
        shortest_silence: Seconds,
    ) -> None:
        self._pool = pool
        self._backends = backends
        self._changed = changed
        self._shortest_silence = shortest_silence

    def patience(self, backend: BoxBackend, work: Work) -> Seconds:
        """The longest silence about a call that is not a stuck slot's; endless while that is not known."""
        usual = self._pool.seconds_between_signs(backend.name)
        if usual is None or not (backend.abilities.tells_progress and work.tells_progress):
            return inf
        return max(self._shortest_silence, STUCK_AFTER_TIMES * usual)

    async def free_when_idle(self, slots: SlotAccess, start: Start, call_id: int, patience: Seconds) -> None:
        """Give a slot back once its engine has noticed that a caller has gone; one that never does is stuck."""
        try:
            try:
                async with asyncio.timeout(patience if isfinite(patience) else None):
                    await _until_idle(slots, start.slot)
            except TimeoutError:
                reason = f"slot {start.slot} of {start.engine} is at work {patience:.0f} s after its caller left"
                reloaded = await self._backends[start.engine].reload(reason)
                log.error("%s: %s", reason, "it is loaded anew" if reloaded else "it gets no calls until it is idle")
                if not reloaded:
                    await _until_idle(slots, start.slot)
        except EngineUnavailable:
            pass  # gone, and its slots with it
        finally:
            self._pool.slot_free(start.engine, start.slot, call_id)
            self._changed()


async def _until_idle(slots: SlotAccess, slot: int) -> None:
    while True:
        await asyncio.sleep(BUSY_POLL_SECONDS)
        if slot not in await slots.busy():
            return
