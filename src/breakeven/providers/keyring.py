"""Several API keys of one provider: calls take turns with them, and a key that was limited or refused rests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from breakeven.errors import RateLimited

LIMITED = 429
MOST_DIGITS = 6
"""Of the seconds that a provider asks for: eleven days. More is nonsense."""
REFUSED = (401, 402)
"""Unknown, or out of credit. 403 is left out: it is about the model or the place, and another key changes neither."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key; ``name`` is where the configuration keeps it, which may be shown, ``None`` for one of our own."""

    name: str | None
    secret: str = field(repr=False)


class KeyRing:
    """The keys of a provider; empty for one that takes none.

    Args:
        provider: its name, for errors.
        keys: of two with the same secret the first counts.
        cooldown: seconds for which a key rests, unless the provider says how long.
        clock: gives seconds and never goes back.
    """

    def __init__(
        self,
        provider: str,
        keys: Sequence[Key] = (),
        cooldown: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        first: dict[str, Key] = {}
        for key in keys:
            first.setdefault(key.secret, key)
        self._keys = list(first.values())
        self._cooldown = cooldown
        self._clock = clock
        self._rests_until: dict[Key, float] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def resting(self) -> int:
        """How many keys rest now."""
        now = self._clock()
        return sum(until > now for until in self._rests_until.values())

    def take(self) -> Key | None:
        """The key whose turn it is; ``None`` for a provider that takes none.

        A single key never rests: the provider's own answer says more than ours would.

        Raises:
            RateLimited: when all of several keys rest; it says until when.
        """
        if len(self._keys) < 2:
            return self._keys[0] if self._keys else None
        now = self._clock()
        for step in range(len(self._keys)):
            place = (self._next + step) % len(self._keys)
            if self._rests_until.get(self._keys[place], now) <= now:
                self._next = place + 1
                return self._keys[place]
        seconds = math.ceil(min(self._rests_until.values()) - now)
        raise RateLimited(
            f"{self._provider}: all {len(self._keys)} keys were limited or refused a moment ago",
            remedy="Send it later, or add a key.",
            retry_after_seconds=seconds,
        )

    def note(self, key: Key | None, status: int, retry_after: str | None = None) -> bool:
        """What the provider answered to a key: one of several that was limited or refused rests.

        Returns whether it does.

        Args:
            status: of the answer.
            retry_after: its header of that name; only seconds are understood.
        """
        if key is None or len(self._keys) < 2 or (status != LIMITED and status not in REFUSED):
            return False
        asked = float(retry_after) if status == LIMITED and _is_seconds(retry_after) else self._cooldown
        self._rests_until[key] = self._clock() + asked
        return True


def _is_seconds(text: str | None) -> TypeGuard[str]:
    return text is not None and text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
