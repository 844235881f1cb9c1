"""The embedded engine as a provider: a pool of one, whose queue, slots and KV files are managed here."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from breakeven.box.backend import Abilities, SlotAccess
from breakeven.box.dispatcher import Dispatcher
from breakeven.box.engine import Engine
from breakeven.box.llama_slots import LlamaSlots
from breakeven.box.pool import EngineFacts
from breakeven.config import EngineSettings
from breakeven.errors import EngineUnavailable
from breakeven.ledger.records import Locality
from breakeven.providers.base import Availability, ProviderRequest, Reply
from breakeven.providers.http import HttpProvider
from breakeven.providers.keyring import Key, KeyRing
from breakeven.units import MIB
from breakeven.wire.request import Dialect

NAME = "engine"
ASK_AGAIN_SECONDS = 0.5


class EngineTimeouts:
    """Waits for a server on this machine: quick to connect, as slow as a long prefill to answer."""

    connect_seconds = 2.0
    first_byte_seconds = 1800.0
    stall_seconds = 300.0


class EngineBackend:
    """The supervised engine as a member of a pool, wherever it listens since its last restart."""

    def __init__(self, engine: Engine, name: str = NAME) -> None:
        self.name = name
        self._engine = engine
        self._up = True
        self.abilities = Abilities(
            pins=True, saves=engine.kv_files is not None, tells_progress=True, counts_cached=True
        )
        self._slots = LlamaSlots(lambda: engine.base_url.removesuffix("/v1"), lambda: engine.key)
        self.slots: SlotAccess | None = self._slots
        self._server = HttpProvider(
            NAME,
            base_url=lambda: engine.base_url,
            locality="local",
            timeouts=EngineTimeouts(),
            is_engine=True,
            keys=KeyRing(NAME, [Key(None, engine.key)]),
        )

    async def check(self) -> EngineFacts | None:
        """What it can do while it is ready."""
        engine = self._engine
        began = engine.state.since
        self._up = engine.state.phase == "ready" and await engine.answers() and engine.state.since == began
        if not self._up:
            return None
        return EngineFacts(
            self.name,
            slots=engine.slots,
            saves=self.abilities.saves,
            cache_bytes=None if engine.cache is None else engine.cache.mib * MIB,
            kv_bytes_per_token=engine.kv_bytes_per_token,
            began=began,
            batch_tokens=engine.batch_tokens,
        )

    async def changed(self) -> None:
        """Return when it has entered another phase, or in a moment when it ought to answer and does not."""
        while True:
            try:
                async with asyncio.timeout(ASK_AGAIN_SECONDS):
                    await self._engine.next_phase()
            except TimeoutError:
                if self._up or self._engine.state.phase != "ready":
                    continue
            return

    def gone(self) -> bool:
        """Whether it was stopped, or could not be loaded and rests until it is tried again."""
        return self._engine.state.phase in ("stopped", "failed")

    def trouble(self) -> EngineUnavailable:
        """Why it is not ready."""
        return self._engine.unavailable()

    async def reload(self, reason: str) -> bool:
        """Have it replaced by its supervisor."""
        self._engine.condemn(reason)
        return True

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST to where it listens now."""
        return self._server.send(request)

    async def close(self) -> None:
        """Close connections."""
        await self._slots.close()
        await self._server.close()


class EngineProvider:
    """Serves calls on the embedded engine, each when its turn comes and in the slot that knows its beginning."""

    name = NAME
    dialects: tuple[Dialect, ...] = ("openai",)
    locality: Locality = "local"
    catalog: str | None = None
    is_engine = True

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self.dispatcher = Dispatcher(
            "the local engine",
            [EngineBackend(engine)],
            load_seconds=settings.start_seconds,
            files=engine.kv_files,
            file_budget=settings.kv_files_mib << 20,
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

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST when its turn comes.

        Raises:
            DeadlineUnreachable: its answer would come too late.
            EngineUnavailable: when the engine does not become ready in ``engine.start_seconds``, or keeps crashing.
        """
        return self.dispatcher.send(request)

    async def close(self) -> None:
        """Leave the queue and close connections."""
        await self.dispatcher.close()
