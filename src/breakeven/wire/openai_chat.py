"""The OpenAI chat completions dialect: requests, streams, usage, and a stream folded into one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError, MalformedBody
from breakeven.wire.sse import DONE, event_data

Json = dict[str, Any]
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


Index = Annotated[int, msgspec.Meta(ge=0, le=1024)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: Index | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None

    def generated_characters(self) -> int:
        """Characters of generated text in this piece, tool arguments included."""
        if self.tool_calls is None and self.reasoning_content is None and self.reasoning is None:
            return len(self.content) if isinstance(self.content, str) else 0
        texts = [self.content, self.reasoning_content, self.reasoning, self.refusal]
        calls = [call.function for call in self.tool_calls or () if call.function is not None]
        texts += [text for call in calls for text in (call.name, call.arguments)]
        return sum(len(text) for text in texts if isinstance(text, str))


class _Choice(msgspec.Struct):
    index: Index = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Chunk(msgspec.Struct):
    """What we work with in a chunk; everything else in it is passed through."""

    choices: list[_Choice] | None = None
    model: str | None = None
    usage: Any = None
    timings: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request; ``document`` is the body as the client sent it, unknown fields included."""

    document: Json
    model: str
    stream: bool
    wants_usage: bool

    def upstream_body(self, model: str, extra: Json | None = None) -> bytes:
        """The body to send on: another model name, always streamed, usage always asked for, the rest untouched."""
        options = self.document.get("stream_options")
        changed = {
            **self.document,
            "model": model,
            "stream": True,
            "stream_options": {**(options or {}), "include_usage": True},
        }
        if extra:
            changed.update(extra)
        return _encode(changed)

    def text_characters(self) -> int:
        """Characters of text in the messages, images and tools left out."""
        total = 0
        for message in self.document["messages"]:
            content = message.get("content")
            if isinstance(content, str):
                total += len(content)
            elif isinstance(content, list):
                total += sum(
                    len(part["text"])
                    for part in content
                    if isinstance(part, dict) and isinstance(part.get("text"), str)
                )
        return total


def parse_object(body: bytes) -> Json:
    """A JSON object, or :class:`MalformedBody` saying where the JSON breaks."""
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}", remedy="Send a JSON object.") from error
    except RecursionError as error:
        raise MalformedBody("the body is nested too deeply", remedy="Send flatter JSON.") from error
    if not isinstance(document, dict):
        raise MalformedBody(f"the body is a JSON {type(document).__name__}", remedy="Send a JSON object.")
    return document


def read_model(document: Json) -> str:
    """The ``model`` field."""
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise MalformedBody(
            f"model = {model!r}: expected the name of a model", remedy="GET /v1/models lists what is served."
        )
    return model


def metadata_label(document: Json, name: str) -> str | None:
    """A label that the caller put into ``metadata``."""
    metadata = document.get("metadata")
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and value else None


def parse_chat_request(body: bytes) -> ChatRequest:
    """Check what the gateway itself relies on; what only the model server reads is left to it.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    document = parse_object(body)
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise MalformedBody("messages: expected a list with at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise MalformedBody(f"messages[{index}]: expected an object with role and content")
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise MalformedBody(f"stream = {stream!r}: expected true or false")
    options = document.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise MalformedBody(f"stream_options = {options!r}: expected an object")
    wants_usage = bool(options and options.get("include_usage"))
    return ChatRequest(document, read_model(document), bool(stream), wants_usage)


def read_usage(usage: object) -> TokenCounts | None:
    """Token counts of a ``usage`` object, ``None`` when there is none to read or it contradicts itself.

    OpenAI counts cached tokens within ``prompt_tokens`` and reasoning within ``completion_tokens``.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    prompt_details, completion_details = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = prompt_details.get("cached_tokens") if isinstance(prompt_details, dict) else None
    written = prompt_details.get("cache_write_tokens") if isinstance(prompt_details, dict) else None
    reasoning = completion_details.get("reasoning_tokens") if isinstance(completion_details, dict) else None
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    try:
        return TokenCounts.reported(
            input_tokens=prompt,
            output_tokens=completion,
            input_includes_cached=True,
            cache_read=cached if isinstance(cached, int) else 0,
            cache_write_5m=written if isinstance(written, int) else 0,
            reasoning=reasoning if isinstance(reasoning, int) else None,
        )
    except InputError:
        return None


@dataclass(frozen=True, slots=True)
class EngineTimings:
    """What llama.cpp says of one call: seconds of prefill and decode, and tokens so far."""

    prefill: float
    decode: float
    tokens: TokenCounts

    @classmethod
    def read(cls, timings: object) -> EngineTimings | None:
        """Read llama.cpp's ``timings`` object; its ``prompt_n`` leaves out the ``cache_n`` reused tokens."""
        if not isinstance(timings, dict):
            return None
        try:
            counts = TokenCounts.reported(
                input_tokens=int(timings["prompt_n"]),
                output_tokens=int(timings["predicted_n"]),
                input_includes_cached=False,
                cache_read=int(timings.get("cache_n", 0)),
            )
            return cls(float(timings["prompt_ms"]) / 1e3, float(timings["predicted_ms"]) / 1e3, counts)
        except (KeyError, TypeError, ValueError, InputError):
            return None


class StreamReader:
    """Follows a stream of chat chunks: what to pass on, what was used, whether it came to its end.

    Attributes:
        usage: counts by the server, once it has sent them.
        timings: llama.cpp's timings, the latest seen.
        model: the model the server says it used.
        finished: whether every event arrived up to a finish reason or ``[DONE]``.
        done: whether ``[DONE]`` arrived.
        started: whether any event arrived.
        generating: whether generated text (or a tool call) has arrived.
        error: the error object, if the server sent one mid-stream.
        text_characters: characters of generated text so far, for an estimate when nobody counts.
    """

    def __init__(self, *, pass_usage: bool, fold: bool) -> None:
        self._pass_usage = pass_usage
        self.answer = AnswerFold() if fold else None
        self.usage: TokenCounts | None = None
        self.timings: EngineTimings | None = None
        self.model: str | None = None
        self.finished = False
        self.done = False
        self.started = False
        self.generating = False
        self.error: Json | None = None
        self.text_characters = 0

    def take(self, event: bytes) -> bytes | None:
        """Note one event; return the bytes to pass on, or ``None`` to hold them back.

        ``[DONE]`` is held back: the gateway sends it once the call is in the books.
        """
        data = event_data(event)
        if data is None:
            return event
        if data == DONE:
            self.done = self.finished = True
            return None
        self.started = True
        whole: Json = {}
        try:
            if self.answer is None:
                chunk = _decode_chunk(data)
            else:
                whole = _decode(data)
                chunk = msgspec.convert(whole, _Chunk)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.error = {"message": f"the upstream sent an event that is no chat chunk: {error}"}
            return None
        if chunk.error is not None:
            self.error = chunk.error if isinstance(chunk.error, dict) else {"message": str(chunk.error)}
            return None
        if self.answer is not None:
            self.answer.add(whole)
        return event if self._note(chunk) else None

    def take_all(self, events: list[bytes]) -> bytes:
        """Note events up to the first that ends the stream, well or badly; return the bytes to pass on."""
        passed = []
        for event in events:
            if (kept := self.take(event)) is not None:
                passed.append(kept)
            elif self.done or self.error is not None:
                break
        return b"".join(passed)

    def _note(self, chunk: _Chunk) -> bool:
        """Take in a chunk; says whether the client should see it."""
        self.model = chunk.model or self.model
        for choice in chunk.choices or ():
            if choice.delta is not None and (size := choice.delta.generated_characters()):
                self.generating = True
                self.text_characters += size
            if choice.finish_reason is not None:
                self.finished = True
        if chunk.timings is not None:
            self.timings = EngineTimings.read(chunk.timings) or self.timings
        if chunk.usage is None:
            return True
        self.usage = read_usage(chunk.usage) or self.usage
        return bool(chunk.choices) or self._pass_usage


class AnswerFold:
    """Folds chat chunks into the one ``chat.completion`` they stand for."""

    def __init__(self) -> None:
        self._document: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, chunk: Json) -> None:
        """Take in one chunk."""
        for key, value in chunk.items():
            if key not in ("choices", "object") and (value is not None or key not in self._document):
                self._document[key] = value
        for part in chunk.get("choices") or []:
            choice = self._choices.setdefault(
                part.get("index", 0),
                {
                    "index": part.get("index", 0),
                    "message": {"role": "assistant", "content": None},
                    "finish_reason": None,
                },
            )
            _merge_message(choice["message"], part.get("delta") or {})
            for key, value in part.items():
                if key == "logprobs":
                    _merge_logprobs(choice, value)
                elif key not in ("delta", "index") and value is not None:
                    choice[key] = value

    def completion(self) -> Json:
        """The whole answer."""
        return {
            **self._document,
            "object": "chat.completion",
            "choices": [self._choices[index] for index in sorted(self._choices)],
        }


def _merge_message(message: Json, delta: Json) -> None:
    for key, value in delta.items():
        if value is None:
            message.setdefault(key, None)
        elif key == "tool_calls":
            _merge_tool_calls(message.setdefault("tool_calls", []), value)
        elif key == "role":
            message["role"] = value
        else:
            message[key] = _joined(message.get(key), value)


def _joined(before: Any, more: Any) -> Any:
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, dict) and isinstance(more, dict):
        return {**before, **{key: _joined(before.get(key), value) for key, value in more.items()}}
    return more


def _merge_tool_calls(calls: list[Json], deltas: list[Json]) -> None:
    for delta in deltas:
        index = delta["index"] if delta.get("index") is not None else len(calls)
        while len(calls) <= index:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call = calls[index]
        for key in ("id", "type"):
            call[key] = delta.get(key) or call[key]
        function = delta.get("function") or {}
        call["function"]["name"] = call["function"]["name"] or function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _merge_logprobs(choice: Json, logprobs: Json | None) -> None:
    if logprobs is None:
        choice.setdefault("logprobs", None)
        return
    merged = choice.get("logprobs") or {}
    for key, value in logprobs.items():
        merged[key] = [*(merged.get(key) or []), *value] if isinstance(value, list) else value
    choice["logprobs"] = merged


def as_stream(completion: Json) -> list[Json]:
    """A whole answer as the chunks of a stream, for servers that do not stream."""
    head = {key: value for key, value in completion.items() if key not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    choices = completion.get("choices") or []
    chunks: list[Json] = []
    for choice in choices:
        message = dict(choice.get("message") or {})
        if message.get("tool_calls"):
            message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
        delta = {"index": choice.get("index", 0), "delta": message, "finish_reason": None}
        finish = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        chunks += [{**head, "choices": [delta]}, {**head, "choices": [finish]}]
    return [*chunks, {**head, "choices": [], "usage": completion.get("usage")}]
