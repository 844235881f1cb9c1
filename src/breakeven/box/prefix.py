"""Prompts compared by their beginnings: hashes of their blocks tell how much of one another can reuse."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from breakeven.units import Tokens

BLOCK_CHARACTERS = 256
"""About 64 tokens of English: fine enough to place calls by, coarse enough to hash a long prompt in a millisecond."""

Prefix: TypeAlias = tuple[int, ...]
"""One hash a block, each over all text up to the block's end: equal at one place means equal up to there."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the scheduler sees it.

    Attributes:
        prefix: hashes of its blocks, the last one of a shorter block.
        tokens: how many it has, as estimated before the engine has counted.
        head_blocks: how many blocks its tools and system messages fill, which are likely to be sent again.
    """

    prefix: Prefix
    tokens: Tokens
    head_blocks: int = 0

    def shared_tokens(self, held: Prefix) -> Tokens:
        """Tokens at its beginning that ``held`` has computed."""
        return self.tokens * common_blocks(self.prefix, held) // len(self.prefix) if self.prefix else 0


def prefix_of(texts: Iterable[str]) -> Prefix:
    """The block hashes of texts that follow one another.

    >>> a, b = prefix_of(["x" * 600, "left"]), prefix_of(["x" * 600, "right"])
    >>> len(a), common_blocks(a, b)
    (3, 2)
    """
    text = "".join(texts)
    running = hashlib.blake2b(digest_size=8)
    hashes = []
    for start in range(0, len(text), BLOCK_CHARACTERS):
        running.update(text[start : start + BLOCK_CHARACTERS].encode("utf-8", "surrogatepass"))
        hashes.append(int.from_bytes(running.digest(), "little"))
    return tuple(hashes)


def common_blocks(one: Prefix, other: Prefix) -> int:
    """Leading blocks that two prompts have in common."""
    shorter = min(len(one), len(other))
    if not shorter or one[0] != other[0]:
        return 0
    return bisect_left(range(shorter), True, key=lambda at: one[at] != other[at])
