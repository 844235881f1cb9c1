"""What holds for every conversation, answer, stream and count, not only for those that somebody thought of."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import sdk

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import BreakevenError
from breakeven.wire import anthropic_messages, openai_chat, responses
from breakeven.wire.dialects import Dialect, outgoing, parse_request, reader, translator, whole_answer
from breakeven.wire.request import ModelRequest
from breakeven.wire.sse import EventSplitter, encode_event

Json = dict[str, Any]

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-1000, 1000) | words
inputs = st.dictionaries(names, scalars | st.lists(scalars, max_size=2), max_size=2)
schemas = st.fixed_dictionaries({"type": st.just("object"), "properties": st.just({"a": {"type": "integer"}})})


def text_part(text: str) -> Json:
    return {"type": "text", "text": text}


IMAGES = [
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
]
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
parts = st.lists(words.map(text_part) | st.sampled_from([*IMAGES, FILE]), min_size=2, max_size=4)


@st.composite
def turns(draw: st.DrawFn) -> list[Json]:
    """A user's turn and the model's; the model may call tools, whose results the next turn begins with."""
    user: Json = {"role": "user", "content": draw(words | parts)}
    answer: Json = {"role": "assistant", "content": draw(words)}
    calls = draw(st.lists(st.tuples(names, inputs), max_size=2))
    if not calls:
        return [user, answer]
    made = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": encoded(given_input)}}
        for i, (name, given_input) in enumerate(calls)
    ]
    answer = {"role": "assistant", "content": draw(st.none() | words), "tool_calls": made}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": draw(words)} for call in made]
    return [user, answer, *results]


def encoded(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@st.composite
def chats(draw: st.DrawFn) -> Json:
    """A request in chat completions that every dialect can say."""
    system = draw(st.lists(words, max_size=1))
    conversation = [{"role": "system", "content": text} for text in system]
    for turn in draw(st.lists(turns(), max_size=3)):
        conversation += turn
    conversation.append({"role": "user", "content": draw(words | parts)})
    chat: Json = {"model": "m", "messages": conversation, "max_completion_tokens": draw(st.integers(1, 9999))}
    if draw(st.booleans()):
        chat["temperature"] = draw(st.sampled_from([0, 0.5, 1]))
    if draw(st.booleans()):
        chat["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": schema, "strict": False}}
            for name, schema in draw(st.lists(st.tuples(names, schemas), min_size=1, max_size=2))
        ]
        choice = draw(st.sampled_from([None, "auto", "required", "none", "named"]))
        if choice == "named":
            chosen = chat["tools"][0]["function"]["name"]
            chat["tool_choice"] = {"type": "function", "function": {"name": chosen}}
        elif choice is not None:
            chat["tool_choice"] = choice
        if draw(st.booleans()) and choice not in (None, "none"):
            chat["parallel_tool_calls"] = False
    if draw(st.booleans()):
        form = {"name": "output", "schema": {"type": "object", "properties": {}}, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": form}
    return chat


def request(dialect: Dialect, document: Json) -> ModelRequest:
    return parse_request(dialect, json.dumps(document).encode())


def through(dialect: Dialect, chat: Json) -> Json:
    """A chat request said in another dialect, and said again in its own."""
    there = json.loads(outgoing(request("openai", chat), dialect, "m").body)
    sdk.check_request(dialect, there)
    back: Json = json.loads(outgoing(request(dialect, there), "openai", "m").body)
    return back


@given(chats())
@pytest.mark.parametrize("dialect", ["anthropic", "responses"])
def test_a_request_said_in_another_dialect_and_back_is_the_same(dialect: Dialect, chat: Json) -> None:
    expected = json.loads(outgoing(request("openai", chat), "openai", "m").body)
    back = through(dialect, chat)
    for message in back["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":
                part["image_url"].pop("detail", None)
    assert back == expected


@given(chats())
def test_a_request_can_go_by_way_of_any_dialect(chat: Json) -> None:
    message = json.loads(outgoing(request("openai", chat), "anthropic", "m").body)
    response = json.loads(outgoing(request("anthropic", message), "responses", "m").body)
    sdk.check_request("responses", response)
    again = json.loads(outgoing(request("responses", response), "anthropic", "m").body)
    assert again == message


@given(chats())
def test_a_request_counts_the_same_text_in_every_dialect(chat: Json) -> None:
    counted = request("openai", chat).text_characters()
    for dialect in ("anthropic", "responses"):
        there = json.loads(outgoing(request("openai", chat), dialect, "m").body)
        assert request(dialect, there).text_characters() == counted
        assert request(dialect, there).needs == request("openai", chat).needs


counts = st.builds(
    TokenCounts,
    uncached_input=st.integers(0, 10**6),
    cache_read=st.integers(0, 10**6),
    cache_write_5m=st.integers(0, 10**6),
    output=st.integers(100, 10**6),
    reasoning=st.none() | st.integers(0, 100),
)


@given(counts)
def test_counts_are_the_same_in_every_dialect(tokens: TokenCounts) -> None:
    assert openai_chat.read_usage(openai_chat.write_usage(tokens)) == tokens
    assert anthropic_messages.read_usage(anthropic_messages.write_usage(tokens)) == tokens
    known = TokenCounts(
        tokens.uncached_input, tokens.cache_read, tokens.cache_write_5m, 0, tokens.output, tokens.reasoning or 0
    )
    assert responses.read_usage(responses.write_usage(tokens)) == known


@given(counts, st.integers(0, 10**6))
def test_the_lifetimes_of_cache_writes_survive_where_the_dialect_knows_them(tokens: TokenCounts, hour: int) -> None:
    both = TokenCounts(
        tokens.uncached_input, tokens.cache_read, tokens.cache_write_5m, hour, tokens.output, tokens.reasoning
    )
    assert anthropic_messages.read_usage(anthropic_messages.write_usage(both)) == both
    for module in (openai_chat, responses):
        read = module.read_usage(module.write_usage(both))
        assert read is not None
        assert (read.input, read.cache_read, read.output) == (both.input, both.cache_read, both.output)


@st.composite
def completions(draw: st.DrawFn) -> Json:
    """A chat completion that every dialect can say."""
    calls = draw(st.lists(st.tuples(names, inputs), max_size=2))
    message: Json = {"role": "assistant", "content": draw(words if not calls else st.none() | words), "refusal": None}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(words)
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": encoded(given_input)}}
            for i, (name, given_input) in enumerate(calls)
        ]
    finish = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": openai_chat.write_usage(draw(counts)),
    }


CLIENTS: dict[Dialect, ModelRequest] = {
    "openai": request(
        "openai",
        {
            "model": "m",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "Hi"}],
        },
    ),
    "anthropic": request(
        "anthropic", {"model": "m", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    ),
    "responses": request("responses", {"model": "m", "stream": True, "input": "Hi"}),
}


def whole(frm: Dialect, to: Dialect, answer: Json) -> Json:
    return whole_answer(frm, CLIENTS[to], answer, created=7)


@given(completions())
@pytest.mark.parametrize("dialect", ["anthropic", "responses"])
def test_an_answer_said_in_another_dialect_and_back_is_the_same(dialect: Dialect, completion: Json) -> None:
    there = whole("openai", dialect, completion)
    sdk.check_answer(dialect, there)
    back = whole(dialect, "openai", there)
    assert sdk.essence("openai", back) == sdk.essence("openai", completion) | {"usage": back["usage"]}
    read, expected = openai_chat.read_usage(back["usage"]), openai_chat.read_usage(completion["usage"])
    assert read is not None
    assert expected is not None
    assert (read.input, read.cache_read, read.output) == (expected.input, expected.cache_read, expected.output)


def as_chunks(completion: Json, cut: Callable[[str], list[str]]) -> list[bytes]:
    """A completion as a stream whose texts are cut into pieces."""
    choice = completion["choices"][0]
    message = choice["message"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in cut(message.get("reasoning_content") or "")]
    deltas += [{"content": piece} for piece in cut(message["content"] or "")]
    for index, call in enumerate(message.get("tool_calls") or []):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in cut(call["function"]["arguments"])
        ]
    head = {"id": completion["id"], "object": "chat.completion.chunk", "created": 7, "model": completion["model"]}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    chunks.append({**head, "choices": [], "usage": completion["usage"]})
    return [*(encode_event(json.dumps(chunk).encode()) for chunk in chunks), b"data: [DONE]\n\n"]


def translated(frm: Dialect, to: Dialect, events: list[bytes]) -> list[bytes]:
    stream = translator(frm, CLIENTS[to], created=7)
    return EventSplitter().feed(stream.feed(events) + stream.end())


def folded(dialect: Dialect, events: list[bytes]) -> Json:
    follow = reader(dialect, pass_usage=True, fold=True)
    follow.take_all(events)
    assert follow.error is None
    assert follow.finished
    assert follow.answer is not None
    return follow.answer.completion()


@given(completions(), st.integers(1, 5))
def test_a_stream_goes_through_all_dialects_and_comes_back_as_the_same_answer(completion: Json, size: int) -> None:
    chunks = as_chunks(completion, lambda text: [text[i : i + size] for i in range(0, len(text), size)])
    message = translated("openai", "anthropic", chunks)
    assert sdk.essence("anthropic", folded("anthropic", message)) == sdk.essence(
        "anthropic", whole("openai", "anthropic", completion)
    )
    response = translated("anthropic", "responses", message)
    assert sdk.accumulate("responses", response)["status"] in ("completed", "incomplete")
    back = folded("openai", translated("responses", "openai", response))
    assert sdk.essence("openai", back) == sdk.essence("openai", completion) | {"usage": back["usage"]}
    assert back["usage"]["total_tokens"] == completion["usage"]["total_tokens"]


STREAMS = sorted((Path(__file__).parent / "golden" / "streams").iterdir())


@given(st.data())
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_where_the_network_cuts_a_stream_makes_no_difference(path: Path, data: st.DataObject) -> None:
    frm, _, to, *_ = path.stem.split("-")
    comment, upstream = path.read_bytes().split(f": translated to {to}\n\n".encode())[0].split(b"\n\n", 1)
    client = parse_request(to, comment.removeprefix(b": request "))  # type: ignore[arg-type]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(upstream)), max_size=4)))
    pieces = [upstream[start:end] for start, end in zip([0, *cuts], [*cuts, len(upstream)], strict=True)]
    if data.draw(st.booleans()):
        pieces = [piece.replace(b"\n", b"\r\n") for piece in pieces]

    def read(arriving: list[bytes]) -> tuple[bytes, Any, Any, int]:
        splitter, follow = EventSplitter(), reader(frm, pass_usage=True, fold=True)  # type: ignore[arg-type]
        stream = translator(frm, client, created=7)  # type: ignore[arg-type]
        out = b""
        for piece in arriving:
            kept = [event for event in splitter.feed(piece) if follow.take(event) is not None]
            out += stream.feed(kept)
        assert follow.answer is not None
        out += stream.feed([follow.ending]) + stream.end()
        return out, follow.usage, follow.answer.completion(), follow.text_characters

    assert read(pieces) == read([upstream])


values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5
)
FIELDS = (
    "messages", "input", "system", "instructions", "tools", "tool_choice", "thinking", "reasoning", "text", "metadata",
    "output_config", "response_format", "stop", "stop_sequences", "context_management", "stream_options", "n", "user",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "modalities", "mcp_servers", "include",
)  # fmt: skip
TYPES = (
    "text", "image", "image_url", "document", "file", "tool_use", "tool_result", "function", "message", "thinking",
    "function_call", "function_call_output", "reasoning", "input_text", "input_image",
)  # fmt: skip
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "system"]),
        "type": st.sampled_from(TYPES),
        "content": values,
        "source": values,
        "tool_calls": values,
        "function": values,
        "image_url": values,
        "file": values,
        "summary": values,
        "output": values,
        "encrypted_content": values,
        "reasoning_details": values,
    },
)
nested = st.lists(SHAPES | st.builds(lambda outer, inner: {**outer, "content": [inner]}, SHAPES, SHAPES), max_size=3)


@given(st.dictionaries(st.sampled_from(FIELDS), values | nested, max_size=6), st.sampled_from(sorted(CLIENTS)))
def test_no_body_is_met_with_anything_but_an_answer_or_a_reason(fields: Json, dialect: Dialect) -> None:
    document = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], **fields}
    try:
        asked = request(dialect, document)
    except BreakevenError:
        return
    assert asked.text_characters() >= 0
    assert asked.prompt_bytes() > 0
    assert asked.needs is not None
    assert len(asked.prefix_text(50)) <= 50
    for to in CLIENTS:
        with contextlib.suppress(BreakevenError):
            outgoing(asked, to, "m", cap_output=5)
