"""Answers to repeated requests: the same only where everything that matters is the same, and never too many bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from breakeven.accounts.answers import Answer
from breakeven.accounts.responses import OVERHEAD_BYTES, ResponseCache, response_key

REQUEST: dict[str, Any] = {"model": "local", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
KEY = response_key("/v1/chat/completions", REQUEST, "engine/demo", "local_only")


def answer(size: int) -> Answer:
    return Answer(200, (), b"x" * size)


def test_order_of_fields_and_labels_do_not_matter() -> None:
    same = {"metadata": {"task": "tag"}, "user": "me", **dict(reversed(REQUEST.items()))}
    assert response_key("/v1/chat/completions", same, "engine/demo", "local_only") == KEY


def test_everything_else_does() -> None:
    others = [
        response_key("/v1/responses", REQUEST, "engine/demo", "local_only"),
        response_key("/v1/chat/completions", REQUEST | {"temperature": 1}, "engine/demo", "local_only"),
        response_key("/v1/chat/completions", REQUEST | {"stream": True}, "engine/demo", "local_only"),
        response_key("/v1/chat/completions", REQUEST, "openai/gpt-6", "local_only"),
        response_key("/v1/chat/completions", REQUEST, "engine/demo", "shareable"),
        response_key("/v1/chat/completions", REQUEST, "engine/demo", "local_only", task="tag"),
        response_key("/v1/chat/completions", REQUEST, "engine/demo", "local_only", gates='{"not_empty":true}'),
        response_key(
            "/v1/chat/completions", REQUEST, "engine/demo", "local_only", headers={b"anthropic-beta": b"context-1m"}
        ),
    ]
    assert len({KEY, *others}) == 9


def test_an_answer_lasts_for_its_time() -> None:
    now = 0.0
    cache = ResponseCache(clock=lambda: now)
    cache.put(KEY, answer(10), seconds=60)
    now = 59.0
    assert cache.get(KEY) == answer(10)
    now = 60.0
    assert cache.get(KEY) is None
    assert cache.size == 0


def test_what_was_used_last_stays() -> None:
    cache = ResponseCache(max_bytes=2 * (100 + OVERHEAD_BYTES))
    cache.put("a", answer(100), 60)
    cache.put("b", answer(100), 60)
    assert cache.get("a") is not None
    cache.put("c", answer(100), 60)
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.get("c") is not None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3_000)), max_size=40))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    cache = ResponseCache(max_bytes=4_000)
    for key, size in puts:
        cache.put(key, answer(size), 60)
        assert cache.size <= 4_000
        found = cache.get(key)
        assert (found is not None) == (size + OVERHEAD_BYTES <= 4_000)
    assert cache.size == sum(held.size + OVERHEAD_BYTES for key in "abcdef" if (held := cache.get(key)) is not None)
