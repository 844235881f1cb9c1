"""What reached the simulated cloud, in bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_RECENT = 1000
MOST_KINDS = 10_000
OTHERS = "(others)"
_SHOWN_HEADERS = ("accept", "content-type", "idempotency-key", "user-agent")
_SHOWN_PREFIXES = ("anthropic-", "openai-", "x-breakeven-", "x-stainless-", "x-client-request-id", "traceparent")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; headers that may hold a secret are left out, ``fields`` are those of its body."""

    method: str
    path: str
    query: str
    key: str | None
    model: str | None
    user: str | None
    headers: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


class Counters:
    """Counts of requests by path, key and model, of statuses answered, and the newest thousand requests.

    Attributes:
        in_flight: requests that are being answered, or whose caller's leaving has not been noticed yet.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.by_kind: Counter[tuple[str, str, str]] = Counter()
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.input_tokens = 0
        self.output_tokens = 0
        self.recent: deque[Seen] = deque(maxlen=MOST_RECENT)

    def note(self, seen: Seen) -> None:
        """Count one request."""
        self.requests += 1
        kind = (seen.path, seen.key or "", seen.model or "")
        if kind not in self.by_kind and len(self.by_kind) >= MOST_KINDS:
            kind = (OTHERS, OTHERS, OTHERS)
        self.by_kind[kind] += 1
        self.recent.append(seen)

    def document(self) -> dict[str, Any]:
        """The counts as plain values."""
        kinds = [
            {"path": path, "key": key, "model": model, "requests": number}
            for (path, key, model), number in sorted(self.by_kind.items())
        ]
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "by_kind": kinds,
            "by_status": {str(status): number for status, number in sorted(self.by_status.items())},
            "by_fault": dict(sorted(self.by_fault.items())),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "recent": [asdict(seen) for seen in self.recent],
        }


def shown_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers that may be shown."""
    return {
        name: value for name, value in headers.items() if name in _SHOWN_HEADERS or name.startswith(_SHOWN_PREFIXES)
    }
