"""Several servers of one's own as one provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from breakeven.box.backend import BoxBackend
from breakeven.box.dispatcher import Dispatcher
from breakeven.ledger.records import Locality
from breakeven.providers.base import Availability, ProviderRequest, Reply
from breakeven.units import Seconds
from breakeven.wire.request import Dialect


class PoolProvider:
    """Sends each call to the member that has its beginning computed, or else is free first."""

    dialects: tuple[Dialect, ...] = ("openai",)
    locality: Locality = "local"
    catalog: str | None = None
    is_engine = False

    def __init__(self, name: str, backends: Sequence[BoxBackend], *, wait_seconds: Seconds) -> None:
        self.name = name
        self.dispatcher = Dispatcher(f"the pool {name}", backends, load_seconds=wait_seconds)
        self._in_flight = 0
        self._retired = False

    def availability(self) -> Availability:
        """Ready until all members have been found away."""
        return self.dispatcher.availability()

    @asynccontextmanager
    async def send(self, request: ProviderRequest) -> AsyncIterator[Reply]:
        """POST to a member when the call's turn comes.

        Raises:
            DeadlineUnreachable: its answer would come too late.
            EngineUnavailable: when no member came up in time, or each that was tried failed.
        """
        self._in_flight += 1
        try:
            async with self.dispatcher.send(request) as reply:
                yield reply
        finally:
            self._in_flight -= 1
            if self._retired and not self._in_flight:
                await self.close()

    async def retire(self) -> None:
        """Close once the last call in the queue or in flight has ended."""
        self._retired = True
        if not self._in_flight:
            await self.close()

    async def close(self) -> None:
        """Leave the queue."""
        await self.dispatcher.close()
