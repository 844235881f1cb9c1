"""Each file under ``golden`` holds one translation, in the shapes of the public API documentation."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.wire import sdk

from breakeven.wire.dialects import Dialect, outgoing, parse_request, reader, translator, whole_answer
from breakeven.wire.sse import EventSplitter

GOLDEN = Path(__file__).parent / "golden"


def files(kind: str) -> list[Path]:
    found = sorted((GOLDEN / kind).iterdir())
    assert found
    return found


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def dialects(path: Path) -> tuple[Dialect, Dialect]:
    frm, _, to, *_ = path.stem.split("-")
    return frm, to  # type: ignore[return-value]


@pytest.mark.parametrize("path", files("requests"), ids=lambda path: path.stem)
def test_requests(path: Path) -> None:
    golden = load(path)
    request = parse_request(golden["from"], json.dumps(golden["request"]).encode())
    sent = outgoing(request, golden["to"], "model-upstream", **golden.get("options", {}))
    assert (sent.path, json.loads(sent.body)) == (golden["path"], golden["body"])


@pytest.mark.parametrize("path", files("requests"), ids=lambda path: path.stem)
def test_requests_are_what_the_sdk_would_send(path: Path) -> None:
    golden = load(path)
    sdk.check_request(golden["to"], golden["body"])


@pytest.mark.parametrize("path", files("answers"), ids=lambda path: path.stem)
def test_answers(path: Path) -> None:
    golden = load(path)
    request = parse_request(golden["to"], json.dumps(golden["request"]).encode())
    translated = whole_answer(golden["from"], request, golden["answer"], created=1_760_000_000)
    assert translated == golden["translated"]
    sdk.check_answer(golden["from"], golden["answer"])
    sdk.check_answer(golden["to"], translated)


class Stream:
    """An upstream's stream and its translation, with the client's request in a leading comment."""

    def __init__(self, path: Path) -> None:
        self.frm, self.to = dialects(path)
        events = EventSplitter().feed(path.read_bytes())
        mark = events.index(f": translated to {self.to}\n\n".encode())
        self.request = parse_request(self.to, events[0].removeprefix(b": request "))
        self.upstream, self.client = events[1:mark], events[mark + 1 :]

    def translate(self, pieces: list[list[bytes]]) -> bytes:
        through = translator(self.frm, self.request, created=1_760_000_000)
        return b"".join(through.feed(piece) for piece in pieces) + through.end()


@pytest.fixture(params=files("streams"), ids=lambda path: path.stem)
def stream(request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param)


def test_streams(stream: Stream) -> None:
    assert EventSplitter().feed(stream.translate([stream.upstream])) == stream.client


def test_streams_are_translated_event_by_event(stream: Stream) -> None:
    assert stream.translate([[event] for event in stream.upstream]) == b"".join(stream.client)


def test_streams_are_read_by_the_sdk_as_the_answer_they_stand_for(stream: Stream) -> None:
    follow = reader(stream.to, pass_usage=True, fold=True)
    follow.take_all(stream.client)
    assert follow.finished
    assert follow.answer is not None
    accumulated = sdk.accumulate(stream.to, stream.client)
    sdk.check_answer(stream.to, accumulated)
    folded = follow.answer.completion()
    sdk.check_answer(stream.to, folded)
    assert sdk.essence(stream.to, accumulated) == sdk.essence(stream.to, folded)


def test_a_stream_and_the_whole_answer_it_stands_for_translate_to_the_same(stream: Stream) -> None:
    upstream = reader(stream.frm, pass_usage=True, fold=True)
    upstream.take_all(stream.upstream)
    assert upstream.answer is not None
    whole = whole_answer(stream.frm, stream.request, upstream.answer.completion(), created=1_760_000_000)
    client = reader(stream.to, pass_usage=True, fold=True)
    client.take_all(stream.client)
    assert client.answer is not None
    assert sdk.essence(stream.to, whole) == sdk.essence(stream.to, client.answer.completion())


def test_both_ends_of_a_stream_agree_on_tokens_text_and_why_it_ended(stream: Stream) -> None:
    upstream, client = (reader(dialect, pass_usage=True, fold=True) for dialect in (stream.frm, stream.to))
    upstream.take_all(stream.upstream)
    client.take_all(stream.client)
    assert upstream.answer is not None
    assert client.answer is not None
    assert upstream.usage is not None
    assert client.usage is not None
    assert client.usage.total == upstream.usage.total
    assert client.usage.cache_read == upstream.usage.cache_read
    assert client.usage.reasoning == upstream.usage.reasoning
    assert client.answer.tool_calls() == upstream.answer.tool_calls()
    assert {upstream.finish, client.finish} in ({"refusal", "content_filter"}, {upstream.finish})
