"""An Ollama as far as residency goes: what it loads, how long it keeps it, and how many models find room."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.fakes.web import Answer, Asked, as_json

DEFAULT_KEEP_ALIVE = 300


@dataclass
class Ollama:
    """Answers for `tests.fakes.web.web`.

    Attributes:
        pulled: names of its models.
        embedders: those of them that embed and do not generate.
        room: models that fit at once; loading one more pushes out the oldest.
        loaded: seconds each loaded model has left, negative for ever, oldest first.
        loads: names in the order in which they were loaded, or told how long to stay.
    """

    pulled: frozenset[str] = frozenset({"llama3.3:70b", "qwen3:8b", "nomic-embed-text:latest"})
    embedders: frozenset[str] = frozenset({"nomic-embed-text:latest"})
    room: int = 2
    loaded: dict[str, float] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)

    def called(self, model: str) -> None:
        """A client's call without a keep-alive of its own."""
        self._load(model, None)

    def __call__(self, asked: Asked) -> Answer:
        body = json.loads(asked.body or b"{}")
        match asked.path:
            case "/api/ps":
                return as_json({"models": [_row(name, left) for name, left in self.loaded.items()]})
            case "/api/generate" | "/api/embed":
                name = body["model"] if ":" in body["model"] else f"{body['model']}:latest"
                if name not in self.pulled:
                    return Answer(json.dumps({"error": f"model '{body['model']}' not found"}).encode(), 404)
                if (asked.path == "/api/embed") != (name in self.embedders):
                    return Answer(json.dumps({"error": f'"{body["model"]}" does not support this'}).encode(), 400)
                assert not body.get("prompt")
                assert not body.get("input")
                self.loads.append(name)
                self._load(name, body.get("keep_alive"))
                return as_json({"model": body["model"], "response": "", "done": True, "done_reason": "load"})
        return Answer(status=404)

    def _load(self, name: str, keep: float | None) -> None:
        kept = keep if keep is not None else self.loaded.get(name, DEFAULT_KEEP_ALIVE)
        self.loaded.pop(name, None)
        while len(self.loaded) >= self.room:
            self.loaded.pop(next(iter(self.loaded)))
        self.loaded[name] = kept


def _row(name: str, left: float) -> dict[str, object]:
    until = datetime.now(UTC) + timedelta(seconds=left if left >= 0 else 290 * 365 * 86_400)
    return {"name": name, "model": name, "size": 1, "expires_at": until.isoformat().replace("+00:00", "123Z")}
