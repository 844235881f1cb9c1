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

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number:g}"

    @property
    def events(self) -> int:
        """The number as a count of events."""
        return int(self.number or 0)


class FaultPlan:
    """Decides which request meets which fault: those queued first, then by chance.

    Attributes:
        queue: faults for the next requests, one each; ``None`` lets a request pass.
    """

    def __init__(self) -> None:
        self.queue: deque[Fault | None] = deque()
        self._chances: list[tuple[Fault, float]] = []
        self._rng = random.Random(0)

    def order(self, *, queue: object = None, probabilities: object = None, seed: object = 0) -> None:
        """Add a list of faults to the queue, and replace the plan when probabilities by fault are given.

        Raises:
            InputError: when a fault is unknown, or the values are not what they should be.
        """
        chances = self._read_chances(probabilities)
        if not isinstance(queue, list | None) or not all(isinstance(text, str | None) for text in queue or ()):
            raise InputError(f"queue = {queue!r}: expected a list of faults and nulls")
        if not isinstance(seed, int):
            raise InputError(f"seed = {seed!r}: expected a whole number")
        queued = [None if text is None else Fault.parse(text) for text in queue or ()]
        if chances is not None:
            self._chances, self._rng = chances, random.Random(seed)
        self.queue.extend(queued)

    @staticmethod
    def _read_chances(probabilities: object) -> list[tuple[Fault, float]] | None:
        if probabilities is None:
            return None
        if not isinstance(probabilities, dict) or not all(isinstance(p, int | float) for p in probabilities.values()):
            raise InputError(f"probabilities = {probabilities!r}: expected numbers by fault")
        if any(chance < 0 for chance in probabilities.values()) or sum(probabilities.values()) > 1:
            raise InputError(f"probabilities = {probabilities}: expected them to add up to at most 1")
        return [(Fault.parse(str(text)), float(chance)) for text, chance in probabilities.items()]

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.queue.clear()
        self._chances = []

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
        planned = [{"fault": str(fault), "probability": chance} for fault, chance in self._chances]
        return {"queued": len(self.queue), "plan": planned, "kinds": dict(KINDS)}
