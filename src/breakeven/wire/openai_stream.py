"""Streams of the OpenAI chat dialect: followed event by event, and folded into the one answer they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.wire.openai_chat import Json, read_usage
from breakeven.wire.sse import DONE, event_data

_decode = msgspec.json.Decoder().decode
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
