"""Faults on order: what goes wrong with a request, and who decides that it does.

A fault is a word and at most one number, ``cut:3``. It is ordered for one request by the header ``x-sim-fault``, by a
suffix of the model (``claude-haiku-5-5+cut:3``) or by the marker ``[sim:fault=cut:3]`` in the last message; for the
next requests by a queue; for all by a plan of probabilities with a seed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from breakeven.errors import InputError

KINDS: Mapping[str, str] = {
    "429": "refused by a rate limit; the number is retry-after in seconds, none without one",
    "500": "an internal error",
    "503": "unavailable",
    "529": "overloaded",
    "slow": "the first byte comes only after so many seconds (default 5)",
    "stall": "after so many events (default 3) silence, until the caller leaves",
    "cut": "the connection is cut after so many events (default 3); 0 means after the prompt, before any answer",
    "error-event": "an error event after so many events (default 3) ends the stream",
    "malformed": "an event that is no JSON after so many events (default 3), then the stream goes on",
    "truncated": "a plain answer breaks off in the middle of its JSON, its length promised whole; a stream as for cut",
    "no-usage": "usage is left out",
    "content-type": "the answer is right but calls itself text/html",
    "refuse": "the listener closes for so many seconds (default 1) and this request's connection is dropped",
}
"""Each fault and what it does."""

_DEFAULTS = {"slow": 5.0, "stall": 3.0, "cut": 3.0, "error-event": 3.0, "malformed": 3.0, "refuse": 1.0}
STATUS = {"429": 429, "500": 500, "503": 503, "529": 529}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one of :data:`KINDS` and its number, if it takes one."""

    kind: str
    number: float | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``kind`` or ``kind:number``.

        Raises:
            InputError: when there is no such fault.

        >>> Fault.parse("cut:0")
        Fault(kind='cut', number=0.0)
        """
        kind, colon, number = text.strip().partition(":")
        if kind not in KINDS:
            raise InputError(f"fault {text!r}: unknown", remedy=f"There are {', '.join(KINDS)}.")
        if not colon:
            return cls(kind, _DEFAULTS.get(kind))
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e6:
            raise InputError(f"fault {text!r}: expected a number of at least 0 after the colon")
        return cls(kind, value)

    @property
    def events(self) -> int:
        """The number as a count of events."""
        return int(self.number or 0)


class FaultPlan:
    """Decides which request meets which fault: those queued first, then by chance.

    Attributes:
        queue: faults for the next requests, one each; ``None`` lets a request pass.
        probabilities: chance of each fault for every other request.
    """

    def __init__(self) -> None:
        self.queue: deque[Fault | None] = deque()
        self.probabilities: dict[str, float] = {}
        self._chances: list[tuple[Fault, float]] = []
        self._rng = random.Random(0)

    def order(self, *, queue: list[str | None] | None = None, probabilities: Mapping[str, float] | None = None,
              seed: int = 0) -> None:  # fmt: skip
        """Add to the queue, and replace the plan when probabilities are given.

        Raises:
            InputError: when a fault is unknown or the probabilities are none.
        """
        if probabilities is not None:
            chances = [(Fault.parse(text), float(chance)) for text, chance in probabilities.items()]
            if any(chance < 0 for _, chance in chances) or sum(chance for _, chance in chances) > 1:
                raise InputError(f"probabilities = {dict(probabilities)}: expected them to add up to at most 1")
            self.probabilities, self._chances = dict(probabilities), chances
            self._rng = random.Random(seed)
        queued = [None if text is None else Fault.parse(text) for text in queue or ()]
        self.queue.extend(queued)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.queue.clear()
        self.probabilities, self._chances = {}, []

    def next(self) -> Fault | None:
        """The fault that the next request meets."""
        if self.queue:
            return self.queue.popleft()
        if not self._chances:
            return None
        drawn = self._rng.random()
        for fault, chance in self._chances:
            if drawn < chance:
                return fault
            drawn -= chance
        return None

    def document(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {"queued": len(self.queue), "probabilities": self.probabilities, "kinds": dict(KINDS)}
