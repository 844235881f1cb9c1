"""Logs for people, or one JSON object a line for machines; a line for each call if wanted. Never a prompt, an answer or
a secret: what is logged of a call is what its record holds."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from breakeven.config import GatewaySettings
from breakeven.ledger.records import Call

CALLS = "breakeven.calls"
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and what belongs to the call."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        shown: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "call", {}),
        }
        if record.exc_info is not None:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False)


def configure_logging(settings: GatewaySettings) -> None:
    """Log warnings and worse to standard error, and calls if they are wanted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(CALLS).setLevel(logging.INFO if settings.log_calls else logging.WARNING)


def log_call(call: Call) -> None:
    """One line: how the call ended, who served it and what it cost."""
    last = call.attempts[-1] if call.attempts else None
    cost = last.cost if last is not None else None
    details = {
        "call": call.id,
        "endpoint": call.endpoint,
        "model": call.model,
        "task": call.task,
        "agent": call.agent,
        "key": call.key,
        "outcome": call.outcome,
        "attempts": len(call.attempts),
        "provider": last.provider if last is not None else None,
        "seconds": last.durations.total if last is not None else None,
        "last_attempt_usd": None if cost is None else format(cost, "f"),
        "error": last.error if last is not None else None,
    }
    words = " ".join(f"{name}={value}" for name, value in details.items() if value is not None)
    logging.getLogger(CALLS).info("%s", words, extra={"call": details})
