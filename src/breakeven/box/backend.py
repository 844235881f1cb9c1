"""The seam behind which every engine of a pool stands, each saying what it can do."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from breakeven.box.llama_slots import Moved
from breakeven.box.pool import EngineFacts
from breakeven.errors import EngineUnavailable
from breakeven.providers.base import ProviderRequest, Reply


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine lets others do.

    Attributes:
        pins: a call can be sent to a slot by number; else affinity ends at choosing the engine.
        saves: a slot's KV can be saved to a file and restored.
        tells_progress: it reports how far a prefill has come, and so notices early that its caller has gone.
        counts_cached: it reports how much of a prompt it did not have to compute.
    """

    pins: bool = False
    saves: bool = False
    tells_progress: bool = False
    counts_cached: bool = False


class SlotAccess(Protocol):
    """An engine's slots within reach."""

    async def save(self, slot: int, file: str) -> Moved:
        """Write what a slot holds to a file; raises `EngineUnavailable`."""
        ...

    async def restore(self, slot: int, file: str) -> Moved:
        """Put what a file holds into a slot; raises `EngineUnavailable`."""
        ...

    async def busy(self) -> frozenset[int]:
        """Slots at work; raises `EngineUnavailable`."""
        ...


class BoxBackend(Protocol):
    """An engine of the pool.

    Attributes:
        name: its name in the pool.
        abilities: what it can do.
        slots: its slots; ``None`` when it neither pins nor saves.
    """

    name: str
    abilities: Abilities
    slots: SlotAccess | None

    async def check(self) -> EngineFacts | None:
        """What it says of itself, ``None`` while it takes no calls. Other facts than before mean it began anew."""
        ...

    async def changed(self) -> None:
        """Return when `check` may have something new to say."""
        ...

    def gone(self) -> bool:
        """Whether it will not come by itself."""
        ...

    def trouble(self) -> EngineUnavailable:
        """Why it takes no calls."""
        ...

    async def reload(self, reason: str) -> bool:
        """Have the model loaded anew; ``False`` where that is for others to do."""
        ...

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST a request, as `Provider.send` does."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
