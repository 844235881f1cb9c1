"""Servers that call themselves compatible with chat completions, and are so in their own way."""

import json
from typing import Any

import pytest
from tests.wire import sdk

from breakeven.wire.dialects import parse_request, reader, split_whole, translator, whole_answer
from breakeven.wire.sse import EventSplitter, encode_event

CLIENT = parse_request("anthropic", b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}')


def piece(index: int | None, identifier: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"name": name, "arguments": arguments}, "id": identifier}
    return call if index is None else {**call, "index": index}


def stream(*deltas: dict[str, Any]) -> list[bytes]:
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [encode_event(json.dumps(chunk).encode()) for chunk in chunks]


NUMBERED = [
    pytest.param([piece(0, "a", "f", "{}"), piece(1, "b", "g", "{}")], id="as OpenAI does"),
    pytest.param([piece(None, "a", "f", "{}"), piece(None, "b", "g", "{}")], id="no index"),
    pytest.param([piece(0, "a", "f", "{}"), piece(0, "b", "g", "{}")], id="the same index for all"),
    pytest.param([piece(None, "a", "f", "{"), piece(None, "", None, "}"), piece(None, "b", "g", "{}")], id="in pieces"),
    pytest.param([piece(0, "a", "f", "{"), piece(0, "a", "f", "}"), piece(1, "b", "g", "{}")], id="id in each piece"),
    pytest.param([piece(3, "a", "f", "{}"), piece(7, "b", "g", "{}")], id="numbers with gaps"),
]


@pytest.mark.parametrize("pieces", NUMBERED)
def test_calls_of_tools_are_told_apart(pieces: list[dict[str, Any]]) -> None:
    events = stream(*({"tool_calls": [one]} for one in pieces))
    follow, through = reader("openai", pass_usage=True, fold=True), translator("openai", CLIENT, created=0)
    follow.take_all(events)
    assert follow.finish == "tool_use"
    assert follow.answer is not None
    assert [tuple(call) for call in follow.answer.tool_calls()] == [("f", "{}"), ("g", "{}")]
    message = sdk.accumulate("anthropic", EventSplitter().feed(through.feed(events) + through.end()))
    assert [(block["id"], block["name"], block["input"]) for block in message["content"]] == [
        ("a", "f", {}),
        ("b", "g", {}),
    ]


THOUGHTS = [
    pytest.param({"reasoning_content": "hm", "content": "Hi"}, id="llama.cpp"),
    pytest.param({"reasoning": "hm", "content": "Hi"}, id="vLLM"),
    pytest.param(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "Hi"},
            ]
        },
        id="Mistral",
    ),
]


@pytest.mark.parametrize("said", THOUGHTS)
def test_reasoning_is_found_wherever_a_server_puts_it(said: dict[str, Any]) -> None:
    follow = reader("openai", pass_usage=True, fold=True)
    follow.take_all(stream(said))
    assert follow.text_characters == 4
    assert follow.answer is not None
    assert follow.answer.text() == "Hi"
    through = translator("openai", CLIENT, created=0)
    streamed = sdk.accumulate("anthropic", EventSplitter().feed(through.feed(stream(said)) + through.end()))
    completion = {"id": "c", "model": "m", "choices": [{"message": {"role": "assistant", **said}}]}
    whole = whole_answer("openai", CLIENT, completion, created=0)
    for message in (streamed, whole):
        assert [block.get("thinking") or block.get("text") for block in message["content"]] == ["hm", "Hi"]


def test_words_that_come_with_reasoning_in_the_same_piece_are_both_measured() -> None:
    follow = reader("openai", pass_usage=True, fold=False)
    follow.take_all(stream({"content": "", "reasoning": "hm"}))
    assert follow.generating


def test_an_answer_sent_whole_though_a_stream_was_asked_for_is_read_as_one() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}
    completion = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    follow = reader("openai", pass_usage=True, fold=False)
    follow.take_all(split_whole("openai", completion))
    assert follow.finish == "tool_use"
