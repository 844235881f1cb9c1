"""What is logged of a call: its record, as text or JSON, and nothing that was said or that opens a door."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest
from tests.fakes.cloud import SimulatedCloud
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk

from breakeven.gateway.logs import CALLS, JsonLines

Serve = Callable[..., RunningGateway]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Everything logged, as JSON lines."""
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record))

    handler, root, calls = Keep(), logging.getLogger(), logging.getLogger(CALLS)
    handler.setFormatter(JsonLines())
    before = calls.level
    root.addHandler(handler)
    calls.setLevel(logging.INFO)
    yield seen
    root.removeHandler(handler)
    calls.setLevel(before)


def test_a_call_is_one_line_without_words_or_secrets(serve: Serve, sky: SimulatedCloud, lines: list[str]) -> None:
    gateway = serve(desk(sky, gateway={"log_calls": True}), KEYS)
    answer = gateway.client().chat.completions.create(
        model="gpt",
        messages=[{"role": "user", "content": "the password is swordfish"}],
        extra_headers={"x-breakeven-task": "tag"},
    )
    (line,) = [line for line in map(json.loads, lines) if line["logger"] == CALLS]
    (call,) = gateway.calls()
    assert (line["call"], line["outcome"], line["provider"], line["task"]) == (call.id, "completed", "gpt", "tag")
    assert line["last_attempt_usd"] == format(call.attempts[0].cost or 0, "f")
    everything = "\n".join(lines)
    assert "swordfish" not in everything
    assert (answer.choices[0].message.content or "?") not in everything
    assert not any(secret in everything for secret in KEYS.values())
