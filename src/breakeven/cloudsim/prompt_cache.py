"""The simulated cloud's prompt caches, one a key and model.

Anthropic's is asked for with ``cache_control``: up to each marked block the prompt is written, and the longest written
prefix is read. OpenAI's is automatic: from 1,024 tokens on, in steps of 128, the longest prefix seen lately is read.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from breakeven.cloudsim.order import Block
from breakeven.cloudsim.tokens import tokenise

LEAST_TOKENS = 1024
STEP = 128
SECONDS = {"5m": 300.0, "1h": 3600.0}
AUTOMATIC_SECONDS = 600.0
MOST_ENTRIES = 50_000


@dataclass(frozen=True, slots=True)
class PromptUsage:
    """Prompt tokens by class; the classes do not overlap."""

    uncached: int
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        """All prompt tokens."""
        return self.uncached + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a prompt finds in the cache, and the prefixes that serving it would keep, with their seconds."""

    usage: PromptUsage
    keeps: tuple[tuple[bytes, float], ...] = ()


class PromptCache:
    """Remembers prefixes until they expire; the oldest go first when it is full."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def keep(self, lookup: Lookup) -> None:
        """The prompt is served: keep its prefixes."""
        for key, seconds in lookup.keeps:
            self._until[key] = max(self._until.pop(key, 0.0), self._clock() + seconds)
            if len(self._until) > MOST_ENTRIES:
                self._until.popitem(last=False)

    def marked(self, owner: str, blocks: Sequence[Block]) -> Lookup:
        """Account for a prompt whose blocks are marked."""
        total = sum(block.tokens for block in blocks)
        last_mark = max((index for index, block in enumerate(blocks) if block.ttl), default=-1)
        prefixes: list[tuple[bytes, int]] = []
        digest, position = hashlib.sha256(owner.encode()), 0
        for block in blocks[: last_mark + 1]:
            digest.update(f"{len(block.text)}:{block.text}".encode())
            position += block.tokens
            prefixes.append((digest.digest(), position))
        read = 0
        for index in range(last_mark, -1, -1):
            if self._holds(prefixes[index][0]):
                read = prefixes[index][1]
                break
        written = {"5m": 0, "1h": 0}
        keeps = []
        reached = read
        for block, (key, position) in zip(blocks, prefixes, strict=False):
            if block.ttl is None or position < LEAST_TOKENS:
                continue
            if position > reached:
                written[block.ttl] += position - reached
                reached = position
            keeps.append((key, SECONDS[block.ttl]))
        return Lookup(PromptUsage(total - reached, read, written["5m"], written["1h"]), tuple(keeps))

    def automatic(self, owner: str, blocks: Sequence[Block]) -> Lookup:
        """Account for a prompt whose longest known prefix is read."""
        total = sum(block.tokens for block in blocks)
        if total < LEAST_TOKENS:
            return Lookup(PromptUsage(total))
        keeps = []
        tokens = [token for block in blocks for token in tokenise(block.text)][:total]
        digest, read = hashlib.sha256(owner.encode()), 0
        for start in range(0, len(tokens) - STEP + 1, STEP):
            digest.update("\0".join(tokens[start : start + STEP]).encode())
            end, key = start + STEP, digest.digest()
            if end < LEAST_TOKENS:
                continue
            if self._holds(key):
                read = end
            keeps.append((key, AUTOMATIC_SECONDS))
        return Lookup(PromptUsage(total - read, read), tuple(keeps))

    def _holds(self, key: bytes) -> bool:
        return self._until.get(key, 0.0) > self._clock()
