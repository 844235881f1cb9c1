"""The latest decisions, for people who ask why a call went where it went."""

from __future__ import annotations

from collections import deque
from typing import Any

from breakeven.ledger.records import Call

KEPT = 200


class Decisions:
    """Remembers the latest calls as they entered the books, in memory only."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)

    def observe(self, call: Call) -> None:
        """Remember a call."""
        self._calls.append(call)

    def latest(self) -> list[dict[str, Any]]:
        """The latest first."""
        return [_shown(call) for call in reversed(self._calls)]


def _shown(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "received_at": call.received_at,
        "endpoint": call.endpoint,
        "model": call.model,
        "task": call.task,
        "agent": call.agent,
        "key": call.key,
        "outcome": call.outcome,
        "attempts": [
            {
                "provider": attempt.provider,
                "provider_key": attempt.provider_key,
                "model": attempt.model_asked,
                "locality": attempt.locality,
                "reason": attempt.reason,
                "outcome": attempt.outcome,
                "error": attempt.error,
                "seconds": attempt.durations.total,
                "cost_usd": None if (cost := attempt.cost) is None else format(cost, "f"),
            }
            for attempt in call.attempts
        ],
    }
