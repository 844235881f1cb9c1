"""A model server of one's own, started by others, as a member of a pool."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from breakeven.box.backend import Abilities, SlotAccess
from breakeven.box.discovery import Kind, recognise
from breakeven.box.llama_slots import LlamaSlots
from breakeven.box.pool import EngineFacts
from breakeven.errors import EngineUnavailable
from breakeven.providers.base import Provider, ProviderRequest, Reply

LOOK_SECONDS = 5.0
"""Between looks at a server that is up; one that is away is looked at five times as often."""
CONNECT_SECONDS = 2.0
USUAL_SLOTS: dict[Kind | None, int] = {"llama-server": 4, "vllm": 16, "ollama": 1, "lmstudio": 1, None: 1}
"""Calls served at once where a server does not say: what it does by default, one where that is unknown."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ServerBackend:
    """A server that is already a provider.

    Args:
        provider: which calls go through.
        base_url: where it is, ``/v1`` included.
        model: how it calls the model; ``None`` for the name that was asked for.
        slots: calls it serves at once; ``None`` for what it says.
        key: what it wants to be shown; ``None`` for nothing.
    """

    def __init__(
        self,
        provider: Provider,
        base_url: str,
        *,
        model: str | None = None,
        slots: int | None = None,
        key: str | None = None,
    ) -> None:
        self.name = provider.name
        self.abilities = Abilities()
        self.slots: SlotAccess | None = None
        self._provider, self._model, self._slot_count, self._key = provider, model, slots, key
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._access = LlamaSlots(lambda: self._root, lambda: key)
        self._kind: Kind | None = None
        self._up = False

    async def check(self) -> EngineFacts | None:
        """Look at it, and learn what it is and can do."""
        found = await recognise(self._root, self._key, CONNECT_SECONDS)
        if found is not None:
            self._kind = found.kind
        self._up = found is not None or (self._kind is None and await self._listens())
        if not self._up:
            return None
        if self._kind == "llama-server":
            self.abilities = Abilities(pins=True, tells_progress=True, counts_cached=True)
            self.slots = self._access
        elif self._kind == "vllm":
            self.abilities = Abilities(counts_cached=True)
        stated = found.slots if found is not None else None
        return EngineFacts(self.name, self._slot_count or stated or USUAL_SLOTS[self._kind])

    async def changed(self) -> None:
        """Return when it is time for another look."""
        await asyncio.sleep(LOOK_SECONDS if self._up else LOOK_SECONDS / 5)

    def gone(self) -> bool:
        """Never: its owner may start it at any time."""
        return False

    def trouble(self) -> EngineUnavailable:
        """That it does not answer."""
        return EngineUnavailable(
            f"{self.name} does not answer at {self._root}", remedy="Start it; the call can be sent again."
        )

    async def reload(self, reason: str) -> bool:  # noqa: ARG002
        """It is run by others."""
        return False

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST, with the name that this server has for the model."""
        if self._model is not None:
            try:
                body = _encode({**_decode(request.body), "model": self._model})
            except msgspec.DecodeError:
                body = request.body
            request = msgspec.structs.replace(request, body=body)
        return self._provider.send(request)

    async def close(self) -> None:
        """Close what was opened here; the provider is closed by its owner."""
        await self._access.close()

    async def _listens(self) -> bool:
        parts = urlsplit(self._root)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True
