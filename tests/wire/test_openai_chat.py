import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import MalformedBody
from breakeven.wire.dialects import outgoing
from breakeven.wire.openai_chat import as_stream, parse_chat_request, read_usage
from breakeven.wire.openai_stream import AnswerFold, ChatReader
from breakeven.wire.sse import encode_event

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 80},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


def chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", **fields}


def delta(content: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return chunk(choices=[{"index": index, "delta": content, "finish_reason": finish}])


def event(document: dict[str, Any]) -> bytes:
    return encode_event(json.dumps(document).encode())


def fold(*chunks: dict[str, Any]) -> dict[str, Any]:
    answer = AnswerFold()
    for one in chunks:
        answer.add(one)
    return answer.completion()


def test_cached_and_reasoning_tokens_are_parts_not_extras() -> None:
    assert read_usage(USAGE) == TokenCounts(uncached_input=20, cache_read=80, output=20, reasoning=5)


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": "12"}, {"prompt_tokens": 1, "completion_tokens": -1}]
)
def test_a_usage_that_cannot_be_read_is_unknown_not_zero(usage: object) -> None:
    assert read_usage(usage) is None


def test_a_stream_folds_into_the_answer_it_stands_for() -> None:
    completion = fold(
        delta({"role": "assistant", "content": None}),
        delta({"content": "Hel"}),
        delta({"content": "lo"}),
        delta({}, "stop"),
        chunk(choices=[], usage=USAGE),
    )
    assert completion["object"] == "chat.completion"
    assert completion["usage"] == USAGE
    assert completion["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]


def test_parallel_tool_calls_are_put_together_by_index() -> None:
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"a"'}}
    second = {"index": 1, "id": "t2", "type": "function", "function": {"name": "save", "arguments": "{}"}}
    rest = {"index": 0, "function": {"arguments": ":1}"}}
    completion = fold(delta({"tool_calls": [first, second]}), delta({"tool_calls": [rest]}), delta({}, "tool_calls"))
    calls = completion["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("t1", "find", '{"a":1}'),
        ("t2", "save", "{}"),
    ]


def test_unknown_fields_and_logprobs_survive_folding() -> None:
    part = {"index": 0, "delta": {"reasoning_content": "hm"}, "logprobs": {"content": [{"token": "a"}]}, "x": 1}
    more = {"index": 0, "delta": {"reasoning_content": "m"}, "logprobs": {"content": [{"token": "b"}]}}
    completion = fold(chunk(choices=[part], system_fingerprint="f"), chunk(choices=[more]))
    choice = completion["choices"][0]
    assert choice["message"]["reasoning_content"] == "hmm"
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["a", "b"]
    assert choice["x"] == 1
    assert completion["system_fingerprint"] == "f"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_folding_an_unfolded_answer_gives_it_back(texts: list[str]) -> None:
    completion = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for i, text in enumerate(texts)
        ],
        "usage": USAGE,
    }
    assert fold(*as_stream(completion)) == completion


def test_usage_is_held_back_from_a_client_that_did_not_ask_for_it() -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    assert reader.take(event(delta({"content": "x"})))
    assert reader.take(event(chunk(choices=[], usage=USAGE))) is None
    assert reader.usage == read_usage(USAGE)


def test_usage_is_passed_to_a_client_that_asked_for_it() -> None:
    last = event(chunk(choices=[], usage=USAGE))
    assert ChatReader(pass_usage=True, fold=False).take(last) == last


def test_done_is_held_back_until_the_call_is_booked() -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    assert reader.take(b"data: [DONE]\n\n") is None
    assert reader.finished


def test_a_role_alone_is_not_generated_text() -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    reader.take(event(delta({"role": "assistant", "content": None})))
    assert not reader.generating
    reader.take(event(delta({"content": "x"})))
    assert reader.generating


def test_counts_of_a_broken_stream_come_from_the_engines_last_timings() -> None:
    timings = {"cache_n": 30, "prompt_n": 2, "prompt_ms": 10.0, "predicted_n": 4, "predicted_ms": 50.0}
    reader = ChatReader(pass_usage=False, fold=False)
    reader.take(event(delta({"content": "x"})))
    reader.take(event({**delta({"content": "y"}), "timings": timings}))
    assert reader.timings is not None
    assert reader.timings.tokens == TokenCounts(uncached_input=2, cache_read=30, output=4)
    assert not reader.finished


def test_an_error_in_mid_stream_is_noticed_not_passed_on() -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    assert reader.take(event({"error": {"message": "out of memory", "code": 500}})) is None
    assert reader.error == {"message": "out of memory", "code": 500}


def test_the_upstream_body_changes_only_what_must_change() -> None:
    body = {
        "model": "local",
        "messages": [{"role": "user", "content": "hi", "name": "n"}],
        "temperature": 0.25,
        "vendor_extension": {"deep": [1, 2.5, None]},
        "stream_options": {"include_obfuscation": False},
    }
    sent = json.loads(outgoing(parse_chat_request(json.dumps(body).encode()), "openai", "llama").body)
    assert sent == {
        **body,
        "model": "llama",
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "JSON list"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["hi"]}', r"messages\[0\]"),
        (b'{"messages": [{}]}', "model = None"),
        (b'{"model": "m", "messages": [{}], "stream": "yes"}', "stream = 'yes'"),
        (b'{"model": "m", "messages": [{}], "stream_options": 1}', "stream_options = 1"),
        (b"[" * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_its_fault(body: bytes, named: str) -> None:
    with pytest.raises(MalformedBody, match=named):
        parse_chat_request(body)


@given(st.binary(max_size=300))
def test_no_junk_event_breaks_the_reader(junk: bytes) -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    reader.take(encode_event(junk))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {}, optional={"choices": json_values, "usage": json_values, "model": json_values, "timings": json_values}
    )
)
def test_no_misshapen_chunk_breaks_the_reader(document: dict[str, Any]) -> None:
    reader = ChatReader(pass_usage=False, fold=True)
    reader.take(event(document))


def test_an_answer_that_came_whole_keeps_logprobs_and_every_choice_as_a_stream() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": word},
            "finish_reason": "stop",
            "logprobs": logprobs,
        }
        for index, word in enumerate(("a", "b"))
    ]
    whole = {"id": "c", "object": "chat.completion", "choices": choices, "usage": None}
    fold = AnswerFold()
    for chunk in as_stream(whole):
        fold.add(chunk)
    assert fold.completion()["choices"] == choices
