"""Streams of the three dialects followed while they pass: counts, ends, errors, and the answers they add up to."""

import json
from typing import Any

import pytest

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import StreamCut
from breakeven.wire import anthropic_messages, responses
from breakeven.wire.dialects import (
    Dialect,
    StreamReader,
    parse_request,
    reader,
    split_whole,
    translator,
)
from breakeven.wire.reader import Answered, ToolCall
from breakeven.wire.sse import EventSplitter, encode_event

START_USAGE = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 50,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 1,
}


def event(**document: Any) -> bytes:
    return f"event: {document['type']}\n".encode() + encode_event(json.dumps(document).encode())


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return encode_event(json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode())


def follow(dialect: Dialect, *events: bytes, fold: bool = False) -> StreamReader:
    read = reader(dialect, pass_usage=False, fold=fold)
    for one in events:
        read.take(one)
    return read


def message_start(**usage: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return event(type="message_start", message={**message, "usage": {**START_USAGE, **usage}})


def message_delta(reason: str | None, **usage: Any) -> bytes:
    return event(type="message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


def test_the_cache_writes_of_both_lifetimes_are_told_apart() -> None:
    counts = anthropic_messages.read_usage(START_USAGE)
    assert counts == TokenCounts(100, cache_read=1000, cache_write_5m=20, cache_write_1h=30, output=1)


def test_usage_grows_in_the_course_of_a_message() -> None:
    read = follow("anthropic", message_start())
    assert read.usage is not None
    assert (read.usage.input, read.usage.output) == (1150, 1)
    read.take(message_delta("end_turn", output_tokens=200, cache_creation_input_tokens=90, input_tokens=None))
    assert read.usage == TokenCounts(100, cache_read=1000, cache_write_5m=60, cache_write_1h=30, output=200)


def test_tools_that_the_provider_runs_are_counted() -> None:
    read = follow(
        "anthropic",
        message_start(),
        message_delta("end_turn", output_tokens=9, server_tool_use={"web_search_requests": 2, "web_fetch_requests": 0}),
    )
    assert read.server_tools == {"web_search_requests": 2}
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    done = event(type="response.output_item.done", sequence_number=4, output_index=0, item=item)
    assert follow("responses", done, done).server_tools == {"web_search_call": 2}


def test_summaries_made_by_the_server_are_counted_beside_the_totals() -> None:
    iterations = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
    ]
    counts = anthropic_messages.read_usage({"input_tokens": 23_000, "output_tokens": 1000, "iterations": iterations})
    assert counts == TokenCounts(203_000, output=4500)


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"input_tokens": 1}, {"input_tokens": "1", "output_tokens": 1}, {"output_tokens": 1}]
)
def test_a_usage_that_cannot_be_read_is_unknown_not_zero(usage: object) -> None:
    assert anthropic_messages.read_usage(usage) is None
    assert responses.read_usage(usage) is None


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 1, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 2, "reasoning_tokens": 2}},
    ],
)
def test_a_usage_that_contradicts_itself_is_unknown(usage: object) -> None:
    assert anthropic_messages.read_usage(usage) is None
    assert responses.read_usage(usage) is None


def test_a_response_counts_cached_and_reasoning_as_parts() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 25},
    }
    assert responses.read_usage(usage) == TokenCounts(30, cache_read=60, cache_write_5m=10, output=30, reasoning=25)


FINISHES: list[tuple[Dialect, list[bytes], str]] = [
    ("openai", [chunk({"content": "x"}, "stop")], "stop"),
    ("openai", [chunk({"content": "x"}, "length")], "length"),
    ("openai", [chunk({"content": "x"}, "a_reason_of_tomorrow")], "stop"),
    ("openai", [chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), chunk({}, "tool_calls")], "tool_use"),
    ("openai", [chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), chunk({}, "stop")], "tool_use"),
    ("openai", [chunk({"refusal": "No."}), chunk({}, "stop")], "refusal"),
    ("openai", [chunk({}, "content_filter")], "content_filter"),
    ("anthropic", [message_start(), message_delta("end_turn")], "stop"),
    ("anthropic", [message_start(), message_delta("stop_sequence")], "stop"),
    ("anthropic", [message_start(), message_delta("max_tokens")], "length"),
    ("anthropic", [message_start(), message_delta("model_context_window_exceeded")], "length"),
    ("anthropic", [message_start(), message_delta("tool_use")], "tool_use"),
    ("anthropic", [message_start(), message_delta("refusal")], "refusal"),
    ("responses", [event(type="response.completed", response={"status": "completed"})], "stop"),
    (
        "responses",
        [
            event(type="response.output_item.added", output_index=0, item={"type": "function_call", "name": "f"}),
            event(type="response.completed", response={"status": "completed"}),
        ],
        "tool_use",
    ),
    (
        "responses",
        [
            event(type="response.refusal.delta", delta="No."),
            event(type="response.completed", response={"status": "completed"}),
        ],
        "refusal",
    ),
    (
        "responses",
        [
            event(
                type="response.incomplete",
                response={"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            )
        ],
        "length",
    ),
    (
        "responses",
        [
            event(
                type="response.incomplete",
                response={"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            )
        ],
        "content_filter",
    ),
]


@pytest.mark.parametrize(("dialect", "events", "finish"), FINISHES)
def test_why_generation_ended_is_told_in_the_same_words_for_every_dialect(
    dialect: Dialect, events: list[bytes], finish: str
) -> None:
    assert follow(dialect, *events[:-1]).finish is None
    read = follow(dialect, *events)
    assert (read.finish, read.finished) == (finish, True)


GENERATED: list[tuple[Dialect, bytes, int]] = [
    ("openai", chunk({"content": "four"}), 4),
    ("openai", chunk({"reasoning": "four"}), 4),
    ("openai", chunk({"reasoning_content": "four", "content": None}), 4),
    ("openai", chunk({"refusal": "four"}), 4),
    ("openai", chunk({"tool_calls": [{"index": 0, "function": {"arguments": "four"}}]}), 4),
    ("openai", chunk({"role": "assistant", "content": ""}), 0),
    ("anthropic", event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "four"}), 4),
    ("anthropic", event(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "four"}), 4),
    (
        "anthropic",
        event(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "four"}),
        4,
    ),
    (
        "anthropic",
        event(type="content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "four"}),
        4,
    ),
    ("anthropic", event(type="content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}), 0),
    ("anthropic", event(type="content_block_start", index=0, content_block={"type": "text", "text": ""}), 0),
    ("responses", event(type="response.output_text.delta", delta="four"), 4),
    ("responses", event(type="response.reasoning_summary_text.delta", delta="four"), 4),
    ("responses", event(type="response.function_call_arguments.delta", delta="four"), 4),
    ("responses", event(type="response.in_progress", response={"model": "m"}), 0),
]


@pytest.mark.parametrize(("dialect", "piece", "characters"), GENERATED)
def test_generated_text_of_every_kind_is_noticed_and_measured(dialect: Dialect, piece: bytes, characters: int) -> None:
    read = follow(dialect, piece)
    assert (read.text_characters, read.generating) == (characters, bool(characters))


PING = event(type="ping")
HEARTBEATS: list[tuple[Dialect, bytes]] = [
    ("openai", b": waiting\n\n"),
    ("anthropic", b": waiting\n\n"),
    ("anthropic", PING),
    ("responses", b": waiting\n\n"),
]


@pytest.mark.parametrize(("dialect", "beat"), HEARTBEATS)
def test_a_heartbeat_passes_through_and_is_no_sign_of_an_answer(dialect: Dialect, beat: bytes) -> None:
    read = reader(dialect, pass_usage=True, fold=True)
    assert read.take(beat) == beat
    assert not read.started
    assert not read.generating


BROKEN: list[tuple[Dialect, bytes]] = [
    ("openai", encode_event(b"{")),
    ("openai", encode_event(b'{"choices": 7}')),
    ("anthropic", encode_event(b"[]")),
    ("anthropic", encode_event(b'{"type": 7}')),
    ("anthropic", encode_event(b"[" * 100_000)),
    ("responses", encode_event(b"nonsense")),
    ("responses", encode_event(b'{"type": "response.completed", "response": 7}')),
]


@pytest.mark.parametrize(("dialect", "broken"), BROKEN)
@pytest.mark.parametrize("fold", [True, False])
def test_an_event_that_is_none_of_its_dialect_breaks_the_stream(dialect: Dialect, broken: bytes, fold: bool) -> None:
    read = follow(dialect, broken, fold=fold)
    assert read.error is not None
    assert not read.finished


ERRORS: list[tuple[Dialect, bytes, str]] = [
    ("openai", encode_event(b'{"error": {"message": "out of memory"}}'), "out of memory"),
    ("openai", encode_event(b'{"error": "out of memory"}'), "out of memory"),
    ("anthropic", event(type="error", error={"type": "overloaded_error", "message": "Overloaded"}), "Overloaded"),
    ("responses", event(type="error", code="server_error", message="broken", sequence_number=3), "broken"),
    (
        "responses",
        event(type="response.failed", response={"status": "failed", "error": {"code": "x", "message": "broken"}}),
        "broken",
    ),
]


@pytest.mark.parametrize(("dialect", "error", "message"), ERRORS)
def test_an_error_in_mid_stream_is_noticed_not_passed_on(dialect: Dialect, error: bytes, message: str) -> None:
    read = reader(dialect, pass_usage=True, fold=False)
    assert read.take(error) is None
    assert read.error is not None
    assert read.error["message"] == message
    assert not read.finished


def test_the_event_that_closes_a_stream_is_held_back_until_the_call_is_in_the_books() -> None:
    stop = event(type="message_stop")
    message = reader("anthropic", pass_usage=True, fold=False)
    assert message.take(stop) is None
    assert message.done
    assert json.loads(message.ending.split(b"data: ")[1]) == {"type": "message_stop"}
    completed = event(type="response.completed", sequence_number=9, response={"status": "completed", "extra": 1})
    response = reader("responses", pass_usage=True, fold=False)
    assert response.take(completed) is None
    assert (response.done, response.ending) == (True, completed)
    assert reader("openai", pass_usage=True, fold=False).ending == b"data: [DONE]\n\n"


def test_nothing_after_the_end_is_passed_on() -> None:
    read = reader("anthropic", pass_usage=True, fold=False)
    first, stop = message_start(), event(type="message_stop")
    assert read.take_all([first, stop, message_start()]) == first


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "Hello", "citations": [{"type": "char_location", "cited_text": "x"}]},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": START_USAGE,
    "container": None,
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt",
    "incomplete_details": None,
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
        {"id": "fc_1", "type": "function_call", "call_id": "t1", "name": "f", "arguments": '{"a":[1]}'},
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
    ],
    "usage": {"input_tokens": 5, "output_tokens": 7},
}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}
WHOLE: list[tuple[Dialect, dict[str, Any]]] = [
    ("openai", COMPLETION),
    ("anthropic", MESSAGE),
    ("responses", RESPONSE),
]


@pytest.mark.parametrize(("dialect", "answer"), WHOLE)
def test_an_answer_split_into_a_stream_folds_back_into_itself(dialect: Dialect, answer: dict[str, Any]) -> None:
    read = follow(dialect, *split_whole(dialect, answer), fold=True)
    assert read.finished
    assert read.answer is not None
    assert read.answer.completion() == answer
    assert read.answer.text() == "Hello"
    assert read.answer.tool_calls()[0] == ToolCall("f", '{"a":[1]}')
    assert read.finish == "tool_use"
    assert read.usage is not None
    assert read.generating


def test_a_response_that_was_cut_still_tells_what_it_said_and_called() -> None:
    whole = split_whole("responses", RESPONSE)
    read = follow("responses", *whole[:-1], fold=True)
    assert not read.finished
    assert read.answer is not None
    assert read.answer.text() == "Hello"
    assert read.answer.completion()["output"] == RESPONSE["output"]


def test_a_call_that_was_cut_keeps_what_the_model_wrote() -> None:
    opened = event(
        type="content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
    )
    written = event(type="content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a'})
    read = follow("anthropic", message_start(), opened, written, fold=True)
    assert read.answer is not None
    assert read.answer.tool_calls() == [ToolCall("f", '{"a')]
    assert read.answer.completion()["content"][0]["input"] == {}


RESPONSE_USAGE = {"input_tokens": 70, "output_tokens": 9, "total_tokens": 79}


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_that_failed_or_was_cut_short_tells_what_it_used(status: str) -> None:
    response = {"id": "resp_1", "model": "gpt-6", "status": status, "output": [], "usage": RESPONSE_USAGE}
    failure = {"error": {"code": "server_error", "message": "out of memory"}} if status == "failed" else {}
    read = follow("responses", event(type=f"response.{status}", response={**response, **failure}))
    assert (read.usage, read.model, read.finished) == (TokenCounts(70, output=9), "gpt-6", True)
    assert read.error == failure.get("error")


@pytest.mark.parametrize(
    ("dialect", "error"),
    [
        ("openai", encode_event(b'{"error": {"message": "out of memory", "code": 500}}')),
        ("anthropic", event(type="error", error={"type": "overloaded_error", "message": "Overloaded"})),
        ("responses", event(type="error", code="server_error", message="out of memory", param=None)),
    ],
)
def test_an_error_in_place_of_an_answer_starts_none(dialect: Dialect, error: bytes) -> None:
    read = follow(dialect, error)
    assert read.error is not None
    assert not read.started


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "responses"])
def test_what_cannot_be_read_may_have_been_an_answer(dialect: Dialect) -> None:
    read = follow(dialect, b"data: {not json\n\n")
    assert read.error is not None
    assert read.started


def test_each_choice_is_an_answer_of_its_own_and_all_must_have_ended() -> None:
    def piece(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return encode_event(json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode())

    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    read = reader("openai", pass_usage=True, fold=True, choices=3)
    read.take_all(
        [piece(0, {"content": "yes"}), piece(0, {}, "stop"), piece(1, {"refusal": "no"}), piece(1, {}, "stop")]
    )
    assert not read.finished
    read.take_all([piece(2, {"tool_calls": [call]}), piece(2, {}, "stop")])
    assert read.finished
    assert read.answers() == [
        Answered("yes", [], "stop"),
        Answered("", [], "refusal"),
        Answered("", [ToolCall("f", "{}")], "tool_use"),
    ]


def test_an_empty_stream_is_no_answer() -> None:
    for dialect in ("openai", "anthropic", "responses"):
        read = follow(dialect, fold=True)
        assert read.answer is not None
        assert (read.answer.text(), read.answer.tool_calls(), read.finished) == ("", [], False)


MANGLED: list[tuple[Dialect, Dialect, bytes]] = [
    ("openai", "anthropic", b'{"choices": [{"delta": {"tool_calls": [7]}}]}'),
    ("anthropic", "openai", b'{"type": "message_start"}'),
    ("anthropic", "openai", b'{"type": "content_block_delta", "index": 4, "delta": {"type": "thinking_delta"}}'),
    ("responses", "openai", b'{"type": "response.function_call_arguments.delta", "output_index": 9, "delta": "x"}'),
    ("openai", "responses", b"{"),
]


@pytest.mark.parametrize(("frm", "to", "data"), MANGLED)
def test_an_event_that_cannot_be_translated_cuts_the_stream(frm: Dialect, to: Dialect, data: bytes) -> None:
    client = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
    through = translator(frm, parse_request(to, json.dumps(client).encode()), created=0)
    with pytest.raises(StreamCut):
        through.feed([encode_event(data)])


def test_a_dialect_is_not_translated_into_itself() -> None:
    request = parse_request("responses", b'{"model": "m", "input": "Hi"}')
    with pytest.raises(ValueError, match="nothing to translate"):
        translator("responses", request, created=0)


def test_comments_pass_through_a_translation_and_pings_become_comments() -> None:
    client = parse_request("openai", b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}')
    through = translator("anthropic", client, created=0)
    assert through.feed([b": waiting\n\n"]) == b": waiting\n\n"
    assert EventSplitter().feed(through.feed([PING])) == [b": ping\n\n"]


def test_a_tier_that_is_billed_otherwise_is_noticed() -> None:
    for said, tier in (("priority", "priority"), ("default", None), (None, None)):
        chat = encode_event(json.dumps({"choices": [], "service_tier": said}).encode())
        assert follow("openai", chat).tier == tier
    created = event(type="response.created", response={"model": "m", "service_tier": "flex"})
    assert follow("responses", created).tier == "flex"
    fast = message_delta("end_turn", output_tokens=9, service_tier="standard", speed="fast", inference_geo="us")
    assert follow("anthropic", message_start(), fast).tier == "fast-us"
    assert follow("anthropic", message_start()).tier is None
