"""The seam of this room: requests, streams, answers and errors of every dialect, each pair translated at need."""

from __future__ import annotations

from typing import NamedTuple, Protocol, assert_never

from breakeven.errors import BreakevenError, MalformedBody, UpstreamError
from breakeven.wire import (
    anthropic_errors,
    anthropic_messages,
    anthropic_stream,
    openai_chat,
    openai_errors,
    responses,
    responses_events,
)
from breakeven.wire.anthropic_stream import MessageReader
from breakeven.wire.body import MISSHAPEN, Json, encode, without_labels
from breakeven.wire.openai_stream import ChatReader
from breakeven.wire.reader import StreamReader
from breakeven.wire.request import Dialect, ModelRequest
from breakeven.wire.responses_stream import ResponseReader
from breakeven.wire.sse import DONE, encode_event
from breakeven.wire.translation.chat_to_messages import chat_to_messages
from breakeven.wire.translation.chat_to_responses import chat_to_responses
from breakeven.wire.translation.events import Chained, EventTranslator
from breakeven.wire.translation.message_answers import completion_to_message, message_to_completion
from breakeven.wire.translation.message_streams import ChunksToMessageEvents, MessageEventsToChunks
from breakeven.wire.translation.messages_to_chat import messages_to_chat
from breakeven.wire.translation.reasoning import without_details
from breakeven.wire.translation.response_answers import completion_to_response, response_to_completion
from breakeven.wire.translation.response_streams import ChunksToResponseEvents, ResponseEventsToChunks
from breakeven.wire.translation.responses_to_chat import responses_to_chat


class Outgoing(NamedTuple):
    """What to send: the path below the interface's root, and the body. The answer is always asked for as a stream."""

    path: str
    body: bytes


class Translator(Protocol):
    """Turns the upstream's events into the client's, as they come: those that a reader passed on, then its ending."""

    def feed(self, events: list[bytes]) -> bytes:
        """Events of the client's dialect for these of the upstream's.

        Raises:
            StreamCut: when an event is not what its dialect makes it.
        """
        ...

    def end(self) -> bytes:
        """What closes the client's stream: to be sent once the upstream's end has arrived and the call is booked."""
        ...


def parse_request(dialect: Dialect, body: bytes) -> ModelRequest:
    """Check what the gateway itself relies on; what only the model server reads is left to it.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    match dialect:
        case "openai":
            return openai_chat.parse_chat_request(body)
        case "anthropic":
            return anthropic_messages.parse_messages_request(body)
        case "responses":
            return responses.parse_responses_request(body)
        case _:
            assert_never(dialect)


def outgoing(
    request: ModelRequest,
    to: Dialect,
    model: str,
    *,
    engine: bool = False,
    cap_output: int | None = None,
    limit_field: str = "max_completion_tokens",
) -> Outgoing:
    """What to send to a server that speaks ``to``.

    In the request's own dialect the body passes through, and only the model, streaming, the limit and our own labels
    are changed. Otherwise it is translated.

    Args:
        request: what the client sent.
        to: the dialect of the server.
        model: the server's name of the model.
        engine: whether it is llama.cpp, which takes more than the public API and reports timings.
        cap_output: most tokens to generate, if that is less than the client asked for.
        limit_field: what this server calls the limit in chat completions; older ones only know ``max_tokens``.

    Raises:
        Unsupported: naming the field that cannot be said in the other dialect.
    """
    document = request.document if to == request.dialect else _translated(request, to, engine=engine)
    limit = request.max_output_tokens
    if cap_output is not None and (limit is None or cap_output < limit):
        limit = cap_output
    changed = {**document, "model": model, "stream": True}
    match to:
        case "openai":
            changed["stream_options"] = {**(document.get("stream_options") or {}), "include_usage": True}
            if limit != request.max_output_tokens or to != request.dialect:
                changed.pop("max_completion_tokens", None)
                changed.pop("max_tokens", None)
                if limit is not None:
                    changed["max_tokens" if engine else limit_field] = limit
            if engine:
                changed["timings_per_token"] = True
        case "anthropic":
            changed = anthropic_messages.without_unsigned_thinking(changed)
            changed["max_tokens"] = limit or document["max_tokens"]
        case "responses":
            changed = responses.without_own_reasoning(changed)
            if limit is not None:
                changed["max_output_tokens"] = limit
        case _:
            assert_never(to)
    return Outgoing(_PATHS[to], encode(without_labels(changed)))


_PATHS: dict[Dialect, str] = {"openai": "/chat/completions", "anthropic": "/messages", "responses": "/responses"}


def _translated(request: ModelRequest, to: Dialect, *, engine: bool) -> Json:
    try:
        chat = _as_chat(request, engine=engine)
        match to:
            case "openai":
                return without_details(chat)
            case "anthropic":
                return chat_to_messages(chat)
            case "responses":
                return chat_to_responses(chat)
            case _:
                assert_never(to)
    except MISSHAPEN as error:
        raise MalformedBody(f"the body is not what its dialect makes it: {error}") from error


def _as_chat(request: ModelRequest, *, engine: bool) -> Json:
    match request.dialect:
        case "openai":
            return request.document
        case "anthropic":
            return messages_to_chat(request.document, engine=engine)
        case "responses":
            return responses_to_chat(request.document, engine=engine)
        case _:
            assert_never(request.dialect)


def parse_count_request(body: bytes) -> ModelRequest:
    """A request for the number of tokens of a prompt, which only Anthropic's dialect knows.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    return anthropic_messages.parse_count_request(body)


def outgoing_count(request: ModelRequest, model: str) -> Outgoing:
    """What to send to a server of Anthropic's dialect to count a prompt's tokens; it answers whole, not as a stream."""
    document = anthropic_messages.without_unsigned_thinking(without_labels(request.document))
    return Outgoing("/messages/count_tokens", encode({**document, "model": model}))


def count_document(tokens: int) -> Json:
    """The answer to a request for the number of tokens of a prompt."""
    return {"input_tokens": tokens}


def reader(dialect: Dialect, *, pass_usage: bool, fold: bool, choices: int = 1) -> StreamReader:
    """A reader for an upstream's stream.

    Args:
        dialect: the upstream's.
        pass_usage: whether the client wants the usage that only chat completions keep back by default.
        fold: whether to keep the whole answer, for a client that did not ask for a stream or for gates.
        choices: answers asked for, which only chat completions have more than one of.
    """
    match dialect:
        case "openai":
            return ChatReader(pass_usage=pass_usage, fold=fold, choices=choices)
        case "anthropic":
            return MessageReader(fold=fold)
        case "responses":
            return ResponseReader(fold=fold)
        case _:
            assert_never(dialect)


def translator(frm: Dialect, request: ModelRequest, *, created: int) -> Translator:
    """A translator of an upstream's stream into the dialect of the request, which must be another.

    Args:
        frm: the upstream's dialect.
        request: what the client sent.
        created: Unix time of the answer, for dialects that tell it.
    """
    to = request.dialect
    if frm == to:
        raise ValueError(f"{frm} to {to}: nothing to translate")
    if frm == "openai":
        return _from_chunks(request, created)
    if to == "openai":
        return _to_chunks(frm, created, wants_usage=request.wants_usage)
    return Chained(_to_chunks(frm, created, wants_usage=True), _from_chunks(request, created))


def _from_chunks(request: ModelRequest, created: int) -> EventTranslator:
    if request.dialect == "anthropic":
        return ChunksToMessageEvents()
    return ChunksToResponseEvents(request.document, created=created)


def _to_chunks(frm: Dialect, created: int, *, wants_usage: bool) -> EventTranslator:
    if frm == "anthropic":
        return MessageEventsToChunks(wants_usage=wants_usage, created=created)
    return ResponseEventsToChunks(wants_usage=wants_usage, created=created)


def whole_answer(frm: Dialect, request: ModelRequest, folded: Json, *, created: int) -> Json:
    """A whole answer in the dialect of the request.

    Raises:
        UpstreamError: when the answer is misshapen, or cannot be said in it (a tool called with broken JSON).
    """
    if frm == request.dialect:
        return folded
    try:
        return _whole_answer(frm, request, folded, created)
    except MISSHAPEN as error:
        raise UpstreamError(f"the upstream's answer is not what its dialect makes it: {error!r}") from error


def _whole_answer(frm: Dialect, request: ModelRequest, folded: Json, created: int) -> Json:
    completion = folded
    if frm == "anthropic":
        completion = message_to_completion(folded, created=created)
    elif frm == "responses":
        completion = response_to_completion(folded, created=created)
    match request.dialect:
        case "openai":
            return completion
        case "anthropic":
            return completion_to_message(completion)
        case "responses":
            return completion_to_response(completion, request.document, created=created)
        case _:
            assert_never(request.dialect)


def split_whole(dialect: Dialect, completion: Json) -> list[bytes]:
    """A whole answer as the events of a stream, for servers that answer without streaming.

    Raises:
        UpstreamError: when the answer is not what the dialect makes it.
    """
    try:
        return _split_whole(dialect, completion)
    except MISSHAPEN as error:
        raise UpstreamError(f"the upstream's answer is not what its dialect makes it: {error!r}") from error


def _split_whole(dialect: Dialect, completion: Json) -> list[bytes]:
    match dialect:
        case "openai":
            return [*(encode_event(encode(chunk)) for chunk in openai_chat.as_stream(completion)), encode_event(DONE)]
        case "anthropic":
            return [anthropic_stream.encode_event(event) for event in anthropic_messages.as_stream(completion)]
        case "responses":
            return responses_events.as_stream(completion)
        case _:
            assert_never(dialect)


def read_error(
    dialect: Dialect, provider: str, status: int, body: bytes, retry_after: str | None = None
) -> BreakevenError:
    """The error that an upstream's answer with status 400 or more stands for."""
    if dialect == "anthropic":
        return anthropic_errors.read_error(provider, status, body, retry_after)
    return openai_errors.read_error(provider, status, body, retry_after)


def read_stream_error(dialect: Dialect, provider: str, details: Json) -> BreakevenError:
    """The error that an upstream's error object in mid-stream stands for."""
    if dialect == "anthropic":
        return anthropic_errors.read_stream_error(provider, details)
    return openai_errors.read_stream_error(provider, details)


def error_status(dialect: Dialect, error: BreakevenError) -> int:
    """The HTTP status that tells a client of this error."""
    return anthropic_errors.error_status(error) if dialect == "anthropic" else openai_errors.error_status(error)


def error_document(dialect: Dialect, error: BreakevenError) -> Json:
    """An error in the shape the client's SDK reads."""
    return anthropic_errors.error_document(error) if dialect == "anthropic" else openai_errors.error_document(error)


def error_event(dialect: Dialect, error: BreakevenError) -> bytes:
    """An error in mid-stream, which ends the stream."""
    document = error_document(dialect, error)
    match dialect:
        case "openai":
            return encode_event(encode(document))
        case "anthropic":
            return anthropic_stream.encode_event(document)
        case "responses":
            details = {key: document["error"].get(key) for key in ("code", "message", "param")}
            return responses_events.encode_event({"type": "error", "sequence_number": 0, **details, **document})
        case _:
            assert_never(dialect)
