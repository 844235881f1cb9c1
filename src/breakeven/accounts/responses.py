"""Answers to requests that are repeated exactly, for tasks that ask for it. In memory, of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from breakeven.accounts.answers import Answer, canonical, fingerprint
from breakeven.privacy.clearance import Label

MAX_BYTES = 64 * 1024**2
OVERHEAD_BYTES = 512
"""What an entry costs beyond its answer."""


def response_key(
    endpoint: str,
    document: Mapping[str, Any],
    model: str,
    label: Label,
    *,
    task: str | None = None,
    gates: str = "",
    headers: Mapping[bytes, bytes] | None = None,
) -> str:
    """Names a request: equal for the same endpoint, content, model, data label, task and gates, whoever asks.

    Args:
        document: the request's JSON; that it streams is part of it, since the answer differs.
        model: provider and model that would be asked first.
        label: of the call's data, so that no answer crosses from one label to the other.
        task / gates: what the answer was wanted for and what it had to pass, so that none is given where it might not
            have been good enough.
        headers: of the request, those that the provider sees.
    """
    seen = [part for name, value in sorted((headers or {}).items()) for part in (name, value)]
    parts = (endpoint, model, label, task or "", gates)
    return fingerprint(canonical(document), *(part.encode() for part in parts), *seen)


class ResponseCache:
    """Answers by ``response_key``, at most ``max_bytes`` of them; those not used for longest go first."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[Answer, float]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key, while its time lasts."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        answer, until = entry
        if until <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: str, answer: Answer, seconds: float) -> None:
        """Keep an answer for so long; one that alone is larger than the cache is not kept."""
        if key in self._entries:
            self._drop(key)
        size = answer.size + OVERHEAD_BYTES
        if size > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = answer, self._clock() + seconds
        self._bytes += size

    def _drop(self, key: str) -> None:
        answer, _ = self._entries.pop(key)
        self._bytes -= answer.size + OVERHEAD_BYTES
