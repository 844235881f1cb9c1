"""Computed prompts between slots and files: KV saved before a slot is taken, and restored instead of computed again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from breakeven.box.backend import BoxBackend
from breakeven.box.kv_files import KvFiles
from breakeven.box.pool import Pool
from breakeven.box.pool_state import Copy, Slot
from breakeven.box.scheduler import Prefetch, Start
from breakeven.errors import EngineUnavailable

log = logging.getLogger(__name__)

DEFAULT_RESTORE_RATE = 1e9
"""Bytes a second, until a file has been restored."""


class KvMoves:
    """Moves KV on the engines and keeps the pool's books of it.

    Args:
        backends: the pool's engines by name.
        files: where KV is saved; ``None`` when it is not.
        changed: called once the pool may decide otherwise than before.
    """

    def __init__(
        self, pool: Pool, backends: Mapping[str, BoxBackend], files: KvFiles | None, changed: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._backends = backends
        self._files = files
        self._changed = changed
        self._restore_rate = DEFAULT_RESTORE_RATE

    async def make_ready(self, start: Start) -> None:
        """Save and restore what a call's start asks for."""
        if start.save is not None:
            await self._save(start.save)
        if start.restore is not None:
            await self._restore(start.engine, start.slot, start.restore)

    async def prefetch(self, order: Prefetch, holder: int) -> None:
        """Fetch a prompt into a slot that is held for it, and free the slot."""
        try:
            if order.save is not None:
                await self._save(order.save)
            if not await self._restore(order.engine, order.slot, order.copy):
                self._pool.emptied(order.engine, order.slot, holder)
        finally:
            self._pool.slot_free(order.engine, order.slot, holder)
            self._changed()

    def delete(self, copy: Copy | None) -> None:
        """Delete a copy's file, if it has one."""
        if copy is not None and copy.file is not None and self._files is not None:
            self._files.delete(copy.file)

    def clear(self) -> None:
        """Delete all files."""
        if self._files is not None:
            self._files.clear()

    async def _save(self, slot: Slot) -> None:
        access = self._backends[slot.engine].slots
        if access is None or self._files is None or slot.agent is None:
            return
        name = self._files.new_name()
        try:
            moved = await access.save(slot.number, name)
        except EngineUnavailable as error:
            log.warning("the prompt of %s could not be saved, it will be computed again: %s", slot.agent, error)
            self._files.delete(name)
            return
        seconds = moved.size / self._restore_rate
        self.delete(self._pool.saved(Copy(slot.engine, slot.holds, slot.agent, name, moved.size, seconds)))
        self._changed()

    async def _restore(self, engine: str, slot: int, copy: Copy) -> bool:
        """Put a file's prompt into a slot; says whether it is there."""
        access = self._backends[engine].slots
        if access is None or copy.file is None:
            return False
        try:
            moved = await access.restore(slot, copy.file)
        except EngineUnavailable as error:
            log.warning("the prompt of %s could not be restored, it is computed again: %s", copy.agent, error)
            self._pool.lost(copy)
            self.delete(copy)
            return False
        if moved.seconds:
            self._restore_rate = moved.size / moved.seconds
        return True
