"""Chunks read by what they share with one before say the same as read whole, whatever their text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.wire.openai_stream import ChatReader
from breakeven.wire.sse import encode_event
from breakeven.wire.text_template import LESSONS, TextTemplate


def chunk(delta: dict[str, Any], *, index: int = 0, **more: Any) -> dict[str, Any]:
    head = {"id": 'a "content":"b"', "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None, "logprobs": None}], **more}


def dense(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.text(), st.lists(st.text()), st.booleans())
def test_a_text_is_read_as_json_reads_it(first: str, rest: list[str], spaced: bool) -> None:
    write = (lambda document: json.dumps(document).encode()) if spaced else dense
    template = TextTemplate()
    assert template.read(write(chunk({"content": first}))) is None
    template.learn(write(chunk({"content": first})))
    for text in rest:
        assert template.read(write(chunk({"content": text}))) == text


@pytest.mark.parametrize(
    "other",
    [
        chunk({"content": "more", "role": "assistant"}),
        chunk({"content": "more"}, index=1),
        chunk({"content": "more"}, usage={"prompt_tokens": 1}),
        chunk({"reasoning_content": "more"}),
        {**chunk({"content": "more"}), "model": "another"},
        {**chunk({"content": "more"}), "created": 2},
    ],
)
def test_what_says_something_else_is_not_taken_for_text(other: dict[str, Any]) -> None:
    template = TextTemplate()
    template.learn(dense(chunk({"content": "some"})))
    assert template.read(dense(other)) is None


@pytest.mark.parametrize(
    "said", [{"tool_calls": [{"index": 0}]}, {"content": ["some"]}, {"content": "some", "refusal": None}, {}]
)
def test_nothing_is_learnt_where_there_is_more_than_text(said: dict[str, Any]) -> None:
    template = TextTemplate()
    template.learn(dense(chunk(said)))
    assert template.read(dense(chunk({"content": "more"}))) is None


def test_what_only_looks_alike_is_not_read() -> None:
    template = TextTemplate()
    learnt = dense(chunk({"content": ""}))
    template.learn(learnt)
    cut = learnt.index(b'"content":""', 30) + len(b'"content":"')
    assert template.read(learnt) == ""
    assert template.read(learnt[:cut] + learnt[cut + 1 :]) is None
    assert template.read(learnt[:cut] + b'x","content":"y' + learnt[cut:]) is None
    assert template.read(learnt[:cut] + b"\xff" + learnt[cut:]) is None


def test_a_server_that_changes_more_than_the_text_is_given_up() -> None:
    template = TextTemplate()
    for number in range(LESSONS):
        template.learn(dense(chunk({"content": "some"}, salt=str(number))))
    template.learn(dense(chunk({"content": "some"})))
    assert template.read(dense(chunk({"content": "more"}))) is None


def test_a_stream_is_passed_on_though_a_part_that_nobody_reads_is_not_utf_8() -> None:
    reader = ChatReader(pass_usage=False, fold=False)
    said = encode_event(b'{"unread":"\xff","choices":[{"index":0,"delta":{"content":"some"},"finish_reason":null}]}')
    assert [reader.take(said), reader.take(said)] == [said, said]
    assert reader.error is None
    assert reader.text_characters == 2 * len("some")


@given(st.lists(st.text(), max_size=12), st.booleans())
def test_a_stream_folds_to_the_same_answer_chunk_by_chunk_alike_or_not(texts: list[str], role_first: bool) -> None:
    opening = [chunk({"role": "assistant", "content": ""})] if role_first else []
    alike = [chunk({"content": text}) for text in texts]
    unlike = [{**chunk({"content": text}), "created": number} for number, text in enumerate(texts, 100)]
    ending: dict[str, Any] = {**chunk({}), "created": 1}
    ending["choices"][0]["finish_reason"] = "stop"
    answers = []
    for chunks in ([*opening, *alike, ending], [*opening, *unlike, ending]):
        reader = ChatReader(pass_usage=False, fold=True)
        for one in chunks:
            assert reader.take(encode_event(dense(one))) is not None
        assert reader.answer is not None
        answers.append((reader.answer.completion(), reader.text_characters, reader.generating, reader.finish))
    assert answers[0] == answers[1]
    assert answers[0][1] == sum(map(len, texts))
