"""Settings that follow their file: a valid change takes effect as a whole, an invalid one not at all."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from breakeven.config.load import load
from breakeven.config.settings import Settings
from breakeven.errors import BreakevenError

log = logging.getLogger(__name__)

Apply: TypeAlias = Callable[[Settings], Awaitable[None]]
"""Takes on new settings, or raises a `BreakevenError` and leaves everything as it was."""

AT_START_ONLY = ("home", "engine", "ledger", "box")
"""Keys that a running gateway cannot take on, beside its address."""


class LiveSettings:
    """The settings that hold, and whoever must hear of new ones.

    Attributes:
        current: the settings that hold.
        problem: why the file as it stands now was refused, in one line; ``None`` when it is in force.
        at_next_start: keys that changed and take effect only when the gateway is started again.
    """

    def __init__(
        self,
        path: Path | None,
        current: Settings,
        *,
        environment: Mapping[str, str] = os.environ,
        adjust: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        """Start from what was loaded.

        Args:
            path: the file; without one nothing ever changes.
            adjust: applied to whatever is loaded, for flags that come before the file.
        """
        self.current = current
        self.problem: str | None = None
        self.at_next_start: tuple[str, ...] = ()
        self._path = path
        self._environment = environment
        self._adjust = adjust
        self._started_with = current
        self._subscribers: list[Apply] = []
        self._stamp = self._look()
        self._digest = self._read()
        self._turn = asyncio.Lock()

    def subscribe(self, apply: Apply) -> None:
        """Have ``apply`` called with new settings before they hold; if any subscriber refuses, none gets them."""
        self._subscribers.append(apply)

    async def reload(self) -> bool:
        """Take on the file as it is now; returns whether it is in force. Also what SIGHUP calls."""
        if self._path is None:
            return True
        async with self._turn:
            self._stamp, self._digest = self._look(), self._read()
            try:
                fresh = self._adjust(load(self._path, self._environment))
                await self._hand_out(fresh)
            except BreakevenError as error:
                self.problem = f"{self._path} was refused, the settings before it hold: {error}"
                log.error("%s", self.problem)
                return False
            self.current, self.problem = fresh, None
            self.at_next_start = _only_at_start(self._started_with, fresh)
            later = f"; {', '.join(self.at_next_start)} at the next start" if self.at_next_start else ""
            log.warning("%s is in force%s", self._path, later)
            return True

    async def watch(self, every: float = 1.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at the file every so many seconds, until cancelled."""
        while self._path is not None:
            await sleep(every)
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                if self._read() != self._digest:
                    await self.reload()

    async def _hand_out(self, fresh: Settings) -> None:
        informed: list[Apply] = []
        try:
            for apply in self._subscribers:
                await apply(fresh)
                informed.append(apply)
        except BaseException:
            for apply in reversed(informed):
                await apply(self.current)
            raise

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)

    def _read(self) -> bytes | None:
        try:
            return hashlib.sha256(self._path.read_bytes()).digest() if self._path is not None else None
        except OSError:
            return None


def _only_at_start(started: Settings, now: Settings) -> tuple[str, ...]:
    changed = [key for key in AT_START_ONLY if getattr(started, key) != getattr(now, key)]
    address = [key for key in ("host", "port") if getattr(started.gateway, key) != getattr(now.gateway, key)]
    return (*changed, *(f"gateway.{key}" for key in address))
