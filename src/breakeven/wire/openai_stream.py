"""Streams of the OpenAI chat dialect: followed event by event, and folded into the one answer they stand for."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from breakeven.wire.body import MISSHAPEN, Json, as_text
from breakeven.wire.openai_chat import read_usage
from breakeven.wire.openai_quirks import CallNumbers, plain
from breakeven.wire.reader import Answered, EngineTimings, Finish, StreamReader, ToolCall, other_tier
from breakeven.wire.sse import DONE, encode_event, event_data
from breakeven.wire.text_template import TextTemplate

_decode = msgspec.json.Decoder().decode
_DONE_EVENT = encode_event(DONE)
_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}
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
        said = plain({"content": self.content}) if isinstance(self.content, list) else {"content": self.content}
        texts = [said["content"], said.get("reasoning_content")]
        texts += [self.reasoning_content, self.reasoning, self.refusal]
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
    service_tier: Any = None
    usage: Any = None
    timings: Any = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class ChatReader(StreamReader):
    """Follows a stream of chat chunks.

    Args:
        choices: answers asked for.
    """

    def __init__(self, *, pass_usage: bool, fold: bool, choices: int = 1) -> None:
        self._fold = AnswerFold() if fold else None
        super().__init__(self._fold, _DONE_EVENT)
        self._pass_usage = pass_usage
        self._open = set(range(choices))
        self._calls_tools = False
        self._refuses = False
        self._template = TextTemplate()

    def take(self, event: bytes) -> bytes | None:
        """Note one event; return the bytes to pass on, or ``None`` to hold them back."""
        data = event_data(event)
        if data is None:
            return event
        if data == DONE:
            self.done = self.finished = True
            return None
        if (text := self._template.read(data)) is not None:
            if text:
                self.generating = True
                self.text_characters += len(text)
            if self._fold is not None:
                self._fold.add_text(self._template.index, text)
            return event
        whole: Json = {}
        try:
            if self._fold is None:
                chunk = _decode_chunk(data)
            else:
                whole = _decode(data)
                chunk = msgspec.convert(whole, _Chunk)
        except MISSHAPEN as error:
            self._broken("chat chunk", error)
            return None
        if chunk.error is not None:
            self.error = chunk.error if isinstance(chunk.error, dict) else {"message": str(chunk.error)}
            self.usage = read_usage(chunk.usage) or self.usage
            return None
        self.started = True
        if self._fold is not None:
            self._fold.add(whole)
        before = self.text_characters
        kept = self._note(chunk)
        if self.text_characters > before and self.finish is None:
            self._template.learn(data)
        return event if kept else None

    def _note(self, chunk: _Chunk) -> bool:
        """Take in a chunk; says whether the client should see it."""
        self.model = chunk.model or self.model
        if chunk.service_tier is not None:
            self.tier = other_tier(chunk.service_tier)
        for choice in chunk.choices or ():
            delta = choice.delta
            if delta is not None:
                text = delta.content
                if (
                    type(text) is str
                    and text
                    and delta.tool_calls is delta.reasoning_content is delta.reasoning is None
                ):
                    size = len(text)
                else:
                    size = delta.generated_characters()
                    self._calls_tools = self._calls_tools or bool(delta.tool_calls)
                    self._refuses = self._refuses or bool(delta.refusal)
                if size:
                    self.generating = True
                    self.text_characters += size
            if choice.finish_reason is not None:
                self._open.discard(choice.index)
                self.finished = not self._open
                self.finish = _finish(choice.finish_reason, calls_tools=self._calls_tools, refuses=self._refuses)
        if chunk.timings is not None:
            self.timings = EngineTimings.read(chunk.timings) or self.timings
        if chunk.usage is None:
            return True
        self.usage = read_usage(chunk.usage) or self.usage
        return bool(chunk.choices) or self._pass_usage

    def answers(self) -> list[Answered]:
        """The answers so far, one for each choice that was asked for; empty when they were not kept."""
        several = [] if self._fold is None else self._fold.answers()
        return several if len(several) > 1 else super().answers()


def _finish(reason: str, *, calls_tools: bool, refuses: bool) -> Finish:
    """Why generation ended. A forced call of a tool may be reported as a plain stop, a refusal always is."""
    finish = _FINISH.get(reason, "stop")
    if finish != "stop":
        return finish
    if refuses:
        return "refusal"
    return "tool_use" if calls_tools else "stop"


class AnswerFold:
    """Folds chat chunks into the one ``chat.completion`` they stand for."""

    def __init__(self) -> None:
        self._document: Json = {}
        self._choices: dict[int, Json] = {}
        self._numbers: dict[int, CallNumbers] = {}

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
            numbers = self._numbers.setdefault(choice["index"], CallNumbers())
            _merge_message(choice["message"], part.get("delta") or {}, numbers)
            for key, value in part.items():
                if key == "logprobs":
                    _merge_logprobs(choice, value)
                elif key not in ("delta", "index") and value is not None:
                    choice[key] = value

    def add_text(self, index: int, text: str) -> None:
        """Take in a chunk that adds text to a choice and is else like one that was taken in before."""
        message = self._choices[index]["message"]
        message["content"] = _joined(message["content"], text)

    def completion(self) -> Json:
        """The whole answer."""
        return {
            **self._document,
            "object": "chat.completion",
            "choices": [self._choices[index] for index in sorted(self._choices)],
        }

    def text(self) -> str:
        """The first choice's text, reasoning left out."""
        return _text(self._first())

    def tool_calls(self) -> list[ToolCall]:
        """The tools the first choice calls."""
        return _tool_calls(self._first())

    def answers(self) -> list[Answered]:
        """Each choice by itself."""
        answers = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            message, reason = choice["message"], choice["finish_reason"]
            calls, refuses = _tool_calls(message), bool(message.get("refusal"))
            finish = None if reason is None else _finish(reason, calls_tools=bool(calls), refuses=refuses)
            answers.append(Answered(_text(message), calls, finish))
        return answers

    def _first(self) -> Json:
        message: Json = self._choices[min(self._choices)]["message"] if self._choices else {}
        return message


def _text(message: Json) -> str:
    return as_text(plain(message).get("content"))


def _tool_calls(message: Json) -> list[ToolCall]:
    calls = message.get("tool_calls") or []
    return [ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def _merge_message(message: Json, delta: Json, numbers: CallNumbers) -> None:
    for key, value in delta.items():
        if value is None:
            message.setdefault(key, None)
        elif key == "tool_calls":
            _merge_tool_calls(message.setdefault("tool_calls", []), value, numbers)
        elif key == "role":
            message["role"] = value
        else:
            message[key] = _joined(message.get(key), value)


def _joined(before: Any, more: Any) -> Any:
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    if isinstance(before, dict) and isinstance(more, dict):
        return {**before, **{key: _joined(before.get(key), value) for key, value in more.items()}}
    if isinstance(before, list) and isinstance(more, list):
        return before + more
    return more


def _merge_tool_calls(calls: list[Json], deltas: list[Json], numbers: CallNumbers) -> None:
    for delta in deltas:
        index = numbers.number(delta)
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
