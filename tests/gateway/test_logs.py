"""What is logged of a call: its record, as text or JSON, and nothing that was said or that opens a door."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import WORDS, Upstream
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


def test_nothing_that_was_said_and_no_secret_is_kept_on_disk(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, lines: list[str]
) -> None:
    """However a call ends: answered, promoted by a gate, broken off, failed, or refused."""
    own = "desk-secret-of-the-house"
    document = desk(sky, fake, tasks={"tag": {"gates": {"rejects": ["two"]}}}, keys={"desk": {"secret": "env:DESK"}})
    document["models"] |= {name: {"provider": "house", "model": name} for name in ("cut", "broken", "bad-parameter")}
    gateway = serve(document, {**KEYS, "DESK": own})
    said = [{"role": "user", "content": "the password is swordfish"}]
    for model in ("local", "task:tag", "cut", "broken", "bad-parameter", "claude"):
        for stream in (False, True):
            asked = {"model": model, "messages": said, "stream": stream, "max_tokens": 50}
            headers = {"authorization": f"Bearer {own}"}
            httpx.post(f"{gateway.url}/v1/chat/completions", json=asked, headers=headers, timeout=30)
    assert len(gateway.calls()) == 12
    kept = [path.read_bytes() for path in gateway.home.rglob("*") if path.is_file()]
    kept.append("\n".join(lines).encode())
    assert any(b"chat/completions" in content for content in kept)
    for word in ("swordfish", "".join(WORDS), own, *KEYS.values()):
        assert not any(word.encode() in content for content in kept), word
