"""Servers that send anything at all: readers note an error, translations raise one of ours, nothing else happens."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakeven.errors import BreakevenError
from breakeven.wire.dialects import (
    Dialect,
    parse_request,
    read_error,
    read_stream_error,
    reader,
    split_whole,
    translator,
    whole_answer,
)
from breakeven.wire.sse import encode_event

DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "responses")
CLIENTS = {
    dialect: parse_request(
        dialect,
        json.dumps(
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
        ).encode(),
    )
    for dialect in DIALECTS
}
PAIRS = [(frm, to) for frm in DIALECTS for to in DIALECTS if frm != to]
scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=4) | st.just("{}")
KEYS = (
    "type", "index", "delta", "content", "text", "thinking", "signature", "data", "usage", "input_tokens", "item",
    "output_tokens", "output", "output_index", "response", "status", "part", "arguments", "name", "id", "call_id",
    "role", "summary", "stop_reason", "choices", "message", "tool_calls", "function", "finish_reason", "model",
    "error", "input", "refusal", "content_block", "partial_json", "encrypted_content", "reasoning_details", "code",
    "reasoning_content", "created", "created_at", "incomplete_details", "stop_details", "citation", "iterations",
    "server_tool_use",
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
TYPES = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "error", "ping", "response.created", "response.output_item.added", "response.output_item.done",
    "response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
    "response.reasoning_text.delta", "response.completed", "response.incomplete", "response.failed", "message",
)  # fmt: skip
BLOCKS = ("text", "thinking", "redacted_thinking", "tool_use", "function_call", "reasoning", "message", "text_delta")
blocks = st.dictionaries(st.sampled_from(KEYS), junk, max_size=3).flatmap(
    lambda block: st.sampled_from(BLOCKS).map(lambda kind: {**block, "type": kind})
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        "index": st.integers(0, 2),
        "output_index": st.integers(0, 2),
        "message": junk | st.fixed_dictionaries({"usage": junk, "content": st.lists(blocks, max_size=2)}),
        "content_block": blocks,
        "delta": junk | blocks,
        "item": blocks,
        "usage": junk,
        "response": junk | st.fixed_dictionaries({"output": st.lists(blocks, max_size=2), "usage": junk}),
        "error": junk,
        "choices": junk
        | st.lists(st.fixed_dictionaries({"delta": junk | blocks, "finish_reason": scalars}), max_size=2),
    },
)


@settings(max_examples=25)
@given(st.lists(events | junk, max_size=5), st.booleans())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_stream_of_junk_breaks_a_reader(dialect: Dialect, documents: list[Any], fold: bool) -> None:
    follow = reader(dialect, pass_usage=False, fold=fold)
    for document in documents:
        follow.take(encode_event(json.dumps(document).encode()))
    assert follow.text_characters >= 0
    if follow.answer is not None and follow.error is None:
        follow.answer.text()
        follow.answer.tool_calls()
        with contextlib.suppress(BreakevenError):
            split_whole(dialect, follow.answer.completion())


@settings(max_examples=25)
@given(st.lists(events | junk, max_size=5))
@pytest.mark.parametrize(("frm", "to"), PAIRS)
def test_no_stream_of_junk_breaks_a_translation(frm: Dialect, to: Dialect, documents: list[Any]) -> None:
    follow, through = reader(frm, pass_usage=True, fold=False), translator(frm, CLIENTS[to], created=0)
    with contextlib.suppress(BreakevenError):
        for document in documents:
            event = encode_event(json.dumps(document).encode())
            if follow.take(event) is not None:
                through.feed([event])
        through.feed([follow.ending])
        through.end()


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from(KEYS), junk | st.lists(blocks, max_size=2), max_size=6))
@pytest.mark.parametrize(("frm", "to"), PAIRS)
def test_no_answer_of_junk_breaks_a_translation(frm: Dialect, to: Dialect, answer: dict[str, Any]) -> None:
    with contextlib.suppress(BreakevenError):
        whole_answer(frm, CLIENTS[to], answer, created=0)
    with contextlib.suppress(BreakevenError):
        split_whole(frm, answer)


@settings(max_examples=25)
@given(st.integers(400, 599), junk, st.none() | st.text(max_size=5))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_refusal_of_junk_breaks_its_reading(dialect: Dialect, status: int, body: Any, advice: str | None) -> None:
    assert str(read_error(dialect, "cloud", status, json.dumps(body).encode(), advice))
    details = body if isinstance(body, dict) else {"message": body}
    assert str(read_stream_error(dialect, "cloud", details))
