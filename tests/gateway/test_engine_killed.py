"""The engine is killed under the load of a full queue: every caller hears, and the books are whole."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from tests.gateway.conftest import RunningGateway

from breakeven.box.models import ModelFile

pytestmark = pytest.mark.engine
Serve = Callable[..., RunningGateway]
CALLERS = 8
TOKENS = 24


def admin(gateway: RunningGateway) -> Any:
    with urllib.request.urlopen(f"{gateway.url}/admin", timeout=30) as response:
        return json.loads(response.read())


def test_killed_under_load_every_caller_hears_and_the_books_are_whole(serve: Serve, demo_model: ModelFile) -> None:
    box = {"purchase_usd": "3600", "idle_watts": "10", "load_watts": "110"}
    engine = {"model": str(demo_model.path), "context": 1024, "cache_ram_mib": 0, "slots": 2}
    gateway = serve({"engine": engine, "box": box})
    words = threading.Semaphore(0)

    def call(number: int) -> int | openai.APIError:
        """Tokens of the answer, or what the caller heard instead; every second one streams."""
        asks: Any = [{"role": "user", "content": f"Caller {number} asks for a story about stones."}]
        more: Any = {"extra_body": {"ignore_eos": True}, "extra_headers": {"x-breakeven-agent": f"caller {number}"}}
        create = gateway.client().chat.completions.create
        try:
            if number % 2:
                answer = create(model="local", messages=asks, max_tokens=TOKENS, temperature=0, **more)
                return answer.usage.completion_tokens if answer.usage is not None else 0
            received = 0
            options: Any = {"include_usage": True}
            chunks = create(
                model="local", messages=asks, max_tokens=TOKENS, stream=True, stream_options=options, **more
            )
            for chunk in chunks:
                received = chunk.usage.completion_tokens if chunk.usage is not None else received
                if any(choice.delta.content for choice in chunk.choices):
                    words.release()
            return received
        except openai.APIError as error:
            return error

    assert gateway.engine is not None
    first = gateway.engine.pid
    assert first is not None
    with ThreadPoolExecutor(CALLERS) as callers:
        under_way = [callers.submit(call, number) for number in range(CALLERS)]
        assert words.acquire(timeout=60)  # one has begun to read
        os.kill(first, signal.SIGKILL)
        heard = [caller.result(timeout=120) for caller in under_way]

    answered = [tokens for tokens in heard if isinstance(tokens, int)]
    turned_away = [error for error in heard if isinstance(error, openai.APIError)]
    assert answered == [TOKENS] * len(answered)
    assert len(answered) >= CALLERS - 2  # no more than were being read when it died
    for error in turned_away:
        assert "broke off" in error.message
        assert error.code == "stream_cut"

    deadline = time.monotonic() + 60
    while not (ready := gateway.engine.state.phase == "ready") and time.monotonic() < deadline:
        time.sleep(0.02)  # nobody tells another thread
    assert ready
    assert gateway.engine.restarts == 1
    assert gateway.engine.pid != first

    calls = gateway.calls()
    assert Counter(call.outcome for call in calls) == Counter(completed=len(answered), cut=len(turned_away))
    attempts = [attempt for call in calls for attempt in call.attempts]
    assert not any(attempt.money.billed for attempt in attempts)
    for attempt in attempts:
        if attempt.outcome == "completed":
            assert attempt.counted_by == "engine"
            assert attempt.tokens is not None
            assert attempt.tokens.output == TOKENS
        elif attempt.outcome == "cut":
            assert attempt.tokens is not None
            assert 0 < attempt.tokens.output <= TOKENS
        else:
            assert attempt.unserved
            assert attempt.error in ("engine_unavailable", "stream_cut")

    page = admin(gateway)
    assert (page["box"]["running"], page["box"]["waiting"]) == (0, [])
    (totals,) = page["totals"]
    assert totals["attempts"] == len(attempts)
    assert totals["tokens"]["output"] == sum(attempt.tokens.output for attempt in attempts if attempt.tokens)
