"""The embedded engine as a provider: calls wait for it while it loads and are told plainly when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from breakeven.box.engine import Engine
from breakeven.config import EngineSettings
from breakeven.ledger.records import Locality
from breakeven.providers.base import Availability, Dialect, ProviderRequest, Reply
from breakeven.providers.http import HttpProvider
from breakeven.providers.keyring import KeyRing

NAME = "engine"
ADMITTED_AHEAD = 2
"""Calls handed to the engine beyond its slots, so that a freed slot finds work at once. The rest wait here: each open
call holds one of the engine's HTTP threads, and when none is left its health checks fail. A caller that leaves while it
waits here costs the engine nothing."""


class EngineTimeouts:
    """Waits for a server on this machine: quick to connect, as slow as a long prefill to answer."""

    connect_seconds = 2.0
    first_byte_seconds = 1800.0
    stall_seconds = 300.0


class EngineProvider:
    """Sends calls to the supervised engine, wherever it listens since its last restart."""

    name = NAME
    dialects: tuple[Dialect, ...] = ("openai",)
    locality: Locality = "local"
    catalog: str | None = None
    is_engine = True

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self._admission = asyncio.Semaphore(engine.slots + ADMITTED_AHEAD)
        self._load_seconds = settings.start_seconds
        self._server = HttpProvider(
            NAME,
            base_url=lambda: engine.base_url,
            locality="local",
            timeouts=EngineTimeouts(),
            is_engine=True,
            keys=KeyRing(NAME, [engine.key]),
        )

    def availability(self) -> Availability:
        """By the phase that the engine is in."""
        match self._engine.state.phase:
            case "ready":
                return "ready"
            case "loading" | "restarting":
                return "loading"
            case _:
                return "gone"

    @asynccontextmanager
    async def send(self, request: ProviderRequest) -> AsyncIterator[Reply]:
        """POST once the engine is ready.

        Raises:
            EngineUnavailable: when it does not become ready in ``engine.start_seconds``, or crashes.
        """
        await self._engine.wait_ready(self._load_seconds)
        async with self._admission, self._server.send(request) as reply:
            yield reply

    async def close(self) -> None:
        """Close pooled connections."""
        await self._server.close()
