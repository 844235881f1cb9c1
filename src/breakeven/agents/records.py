"""What the durable engine writes down: JSON, never pickles, for results and errors alike."""

from __future__ import annotations

import json
from typing import Any

from dbos import Serializer

from breakeven.agents.database import storable
from breakeven.errors import AgentError, ItemDeferred, ItemRejected

FORMAT = "breakeven_json"


class JsonRecords(Serializer):
    """JSON for values; errors as their kind and words, so that a replay raises what the first try raised."""

    def serialize(self, data: Any) -> str:
        """A value or an exception as text."""
        if isinstance(data, BaseException):
            return storable(json.dumps({"error": _error(data)}, ensure_ascii=False))
        return storable(json.dumps({"value": data}, ensure_ascii=False))

    def deserialize(self, serialized_data: str) -> Any:
        """The value, or an instance of the exception."""
        record = json.loads(serialized_data)
        return _raised(record["error"]) if "error" in record else record["value"]

    def name(self) -> str:
        """How the engine knows records of this kind."""
        return FORMAT


def _error(error: BaseException) -> dict[str, Any]:
    known = as_agent_error(error)
    return {
        "kind": "deferred" if isinstance(known, ItemDeferred) else "rejected",
        "message": known.message,
        "remedy": known.remedy,
        "step": known.step,
        "step_number": known.step_number,
        "retry_after_seconds": known.retry_after_seconds if isinstance(known, ItemDeferred) else None,
    }


def _raised(record: dict[str, Any]) -> AgentError:
    error: AgentError
    if record["kind"] == "deferred":
        error = ItemDeferred(
            record["message"], remedy=record["remedy"], retry_after_seconds=record["retry_after_seconds"]
        )
    else:
        error = ItemRejected(record["message"], remedy=record["remedy"])
    error.step, error.step_number = record["step"], record["step_number"]
    return error


def as_agent_error(error: BaseException) -> AgentError:
    """The error as agents tell of it: one of theirs, or whatever it was in words."""
    return error if isinstance(error, AgentError) else ItemRejected(f"{type(error).__name__}: {error}")
