"""How much host memory the engine may use for prompts that left their slots: what the agents need, if there is so much.

llama.cpp takes this memory only as prompts leave their slots, so a limit that is never reached costs nothing. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from breakeven.units import GIB, MIB, Tokens

PROMPT_CACHE = "prompt cache"
"""How ``/ready`` and ``doctor`` call it."""
OUTGROWN = "outgrown"
"""How ``/ready`` begins what it says of a cache that is too small."""
USUAL_MIB = 8192
"""What llama.cpp allows by default: the least wanted, since books do not name the agents that are still to come."""
GROWTH = 1.25
"""Room for prompts that grow and agents that are added until the engine starts next."""
LEAST_RESERVE = 1 * GIB
RESERVED_SHARE = 0.1
"""Of the machine's memory, left to everything else."""


@dataclass(frozen=True, slots=True)
class PromptDemand:
    """Prompts that are to be kept.

    Attributes:
        agents: how many there are.
        tokens: of their longest prompts, answers included, added up.
    """

    agents: int = 0
    tokens: Tokens = 0

    def needed_mib(self, kv_bytes_per_token: int) -> int:
        """Memory that keeps all of them."""
        return _mib(self.tokens * kv_bytes_per_token)


@dataclass(frozen=True, slots=True)
class CacheSize:
    """The limit chosen.

    Attributes:
        mib: the limit.
        says: from which figures.
    """

    mib: int
    says: str


@dataclass(frozen=True, slots=True)
class Room:
    """Host memory beside the model.

    Attributes:
        available_bytes: that programs can have now, before the model is loaded.
        total_bytes: of the machine.
        model_bytes: what the model will take of it.
    """

    available_bytes: int
    total_bytes: int
    model_bytes: int

    @property
    def reserve_bytes(self) -> int:
        """Left to other programs."""
        return max(LEAST_RESERVE, round(RESERVED_SHARE * self.total_bytes))

    @property
    def mib(self) -> int:
        """Whole MiB that a cache may take; 0 when there is none to spare."""
        return max(0, self.available_bytes - self.model_bytes - self.reserve_bytes) // MIB


def choose_cache_size(demand: PromptDemand, kv_bytes_per_token: int | None, room: Room) -> CacheSize:
    """What the agents need and a quarter more, at least llama.cpp's own 8 GiB, never more than there is room for.

    Args:
        demand: of the named agents of the last day.
        kv_bytes_per_token: of the model as its keys and values are kept; ``None`` where its file does not tell.
    """
    needed = 0 if kv_bytes_per_token is None else demand.needed_mib(kv_bytes_per_token)
    wanted = max(USUAL_MIB, round(GROWTH * needed))
    mib = min(wanted, room.mib)
    if kv_bytes_per_token is None:
        why = "the model's file does not say what a token takes"
    elif not demand.agents:
        why = "the books of the last day name no agents"
    else:
        per_token = f"{kv_bytes_per_token / 1024:.4g} KiB"
        why = f"{_agents(demand.agents)} of the last day need {needed:,} MiB ({demand.tokens:,} tokens × {per_token})"
    if mib < wanted:
        why += (
            f"; {room.available_bytes / GIB:.1f} GiB free, less {room.model_bytes / GIB:.1f} for the model and"
            f" {room.reserve_bytes / GIB:.1f} for other programs, leave no more"
        )
    return CacheSize(mib, f"{mib:,} MiB: {why}")


def outgrown(demand: PromptDemand, kv_bytes_per_token: int | None, cache_mib: int) -> str | None:
    """Says so when the prompts of the agents at work no longer fit the cache; ``None`` while they do.

    >>> outgrown(PromptDemand(31, 62_000), 320 * 1024, 8192)
    '31 agents need 19,375 MiB, the cache has 8,192'
    """
    if kv_bytes_per_token is None or not cache_mib:
        return None
    needed = demand.needed_mib(kv_bytes_per_token)
    return None if needed <= cache_mib else f"{_agents(demand.agents)} need {needed:,} MiB, the cache has {cache_mib:,}"


def _agents(count: int) -> str:
    return f"{count} agent{'s' if count > 1 else ''}"


def _mib(size: int) -> int:
    return -(-size // MIB)
