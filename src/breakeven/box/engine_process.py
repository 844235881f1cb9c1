"""The child process of the embedded engine: how it is spawned, what it says, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable

import msgspec

from breakeven.box.engine_child import ChildConfig, Failed, Ready, Report
from breakeven.box.engine_log import EngineLog
from breakeven.box.memory_cap import out_of_memory_kills
from breakeven.box.supervision import Supervision

log = logging.getLogger(__name__)


class EngineProcess:
    """One child after another; the next is spawned once the one before has ended.

    Args:
        words: where what it prints is kept.

    Attributes:
        last_exit: how the latest child ended, for instance ``was killed by SIGKILL``; ``None`` while the first runs.
    """

    def __init__(self, supervision: Supervision, words: EngineLog) -> None:
        self.last_exit: str | None = None
        self._words = words
        self._stop_grace = supervision.stop_grace
        self._child: asyncio.subprocess.Process | None = None
        self._log_reader: asyncio.Task[None] | None = None
        self._kills_before = 0

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def spawn(self, config: ChildConfig) -> None:
        """Begin a child that loads what it is told to."""
        self._words.tail.clear()
        self._kills_before = out_of_memory_kills() or 0
        child = self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "breakeven.box.engine_child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is the parent's to handle
        )
        assert child.stdin is not None  # noqa: S101  asked for above
        self._log_reader = asyncio.create_task(self._keep_log(child))
        child.stdin.write(msgspec.json.encode(config) + b"\n")

    async def report(self, timeout_seconds: float) -> Report | None:
        """What the child spawned last says of its loading; ``None`` when it ends without a word.

        Raises:
            TimeoutError: it says nothing in time.
        """
        assert self._child is not None  # noqa: S101  spawned by the caller
        assert self._child.stdout is not None  # noqa: S101
        async with asyncio.timeout(timeout_seconds):
            line = await self._child.stdout.readline()
        return msgspec.json.decode(line, type=Ready | Failed) if line else None

    async def wait(self) -> None:
        """Return when the child has ended."""
        assert self._child is not None  # noqa: S101  spawned by the caller
        await self._child.wait()

    async def end(self, how: signal.Signals) -> None:
        """Make sure the child is gone, its exit noted and its last words in the log."""
        child = self._child
        if child is None:
            return
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(how)
            try:
                async with asyncio.timeout(self._stop_grace):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await self._within_grace(child.wait(), "it cannot be killed")
        if self._log_reader is not None:
            await self._within_grace(self._log_reader, "something else holds its log open")
        short = (out_of_memory_kills() or 0) > self._kills_before
        self.last_exit = _exit_in_words(child.returncode, short_of_memory=short)
        self._child = self._log_reader = None

    async def _keep_log(self, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None  # noqa: S101  asked for at the start
        while words := await child.stderr.read(1 << 16):
            self._words.write(words)

    async def _within_grace(self, ending: Awaitable[object], otherwise: str) -> None:
        try:
            async with asyncio.timeout(self._stop_grace):
                await ending
        except TimeoutError:
            log.error("the engine's process is given up: %s", otherwise)


def _exit_in_words(returncode: int | None, *, short_of_memory: bool) -> str:
    if returncode == -signal.SIGKILL and short_of_memory:
        return "was killed for want of memory: lower engine.cache_ram_mib, engine.context or engine.slots"
    if returncode is not None and returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"
