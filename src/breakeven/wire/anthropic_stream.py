"""Streams of the Anthropic messages dialect: followed event by event, and folded into the message they stand for."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.wire.anthropic_messages import read_usage
from breakeven.wire.body import MISSHAPEN, Json, as_list, as_text, encode
from breakeven.wire.reader import TIER_FIELDS, Finish, StreamReader, ToolCall, other_tier
from breakeven.wire.sse import event_data

_decode = msgspec.json.Decoder().decode
_FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_use",
    "refusal": "refusal",
}


def encode_event(event: Json) -> bytes:
    """One event, named after its type as this dialect does."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + encode(event) + b"\n\n"


_MESSAGE_STOP = encode_event({"type": "message_stop"})


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    name: str | None = None
    text: str | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    """What we work with in an event; everything else in it is passed through."""

    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


class MessageReader(StreamReader):
    """Follows a stream of message events.

    The usage is read from ``message_start`` on and grows: a later event overrides what it names again, and what
    it leaves out stays.
    """

    def __init__(self, *, fold: bool) -> None:
        super().__init__(MessageFold() if fold else None, _MESSAGE_STOP)
        self._usage: Json = {}

    def take(self, event: bytes) -> bytes | None:
        """Note one event; return the bytes to pass on, or ``None`` to hold them back."""
        data = event_data(event)
        if data is None:
            return event
        try:
            read = _decode_event(data)
            if read.type not in ("ping", "error"):
                self.started = True
            if self.answer is not None:
                self.answer.add(_decode(data))
        except MISSHAPEN as error:
            self._broken("message event", error)
            return None
        if read.error is not None or read.type == "error":
            self.error = read.error if isinstance(read.error, dict) else {"message": str(read.error)}
            return None
        if read.type == "message_stop":
            self.done = self.finished = True
            return None
        self._note(read)
        return event

    def _note(self, event: _Event) -> None:
        if event.message is not None:
            self.model = event.message.model or self.model
            self._count(event.message.usage)
        elif event.content_block is not None:
            self._generated(len(event.content_block.name or "") + len(event.content_block.text or ""))
        elif event.delta is not None:
            delta = event.delta
            self._generated(len(delta.text or delta.thinking or delta.partial_json or ""))
            if delta.stop_reason is not None:
                self.finish = _FINISH.get(delta.stop_reason, "stop")
                self.finished = True
        self._count(event.usage)

    def _count(self, usage: Json | None) -> None:
        if not usage:
            return
        merge_usage(self._usage, usage)
        self.usage = read_usage(self._usage) or self.usage
        if said := [self._usage[name] for name in TIER_FIELDS if name in self._usage]:
            self.tier = other_tier(*said)
        tools = self._usage.get("server_tool_use")
        if isinstance(tools, dict):
            self.server_tools = {name: n for name, n in tools.items() if isinstance(n, int) and n}


def merge_usage(usage: Json, later: Json) -> None:
    """Take in a later report: its counts are totals so far, what it leaves out keeps its value."""
    usage.update({key: value for key, value in later.items() if value is not None})


class MessageFold:
    """Folds message events into the one message they stand for."""

    def __init__(self) -> None:
        self._message: Json = {}
        self._arguments: dict[int, str] = {}

    def add(self, event: Json) -> None:
        """Take in one event."""
        match event.get("type"):
            case "message_start":
                blocks = [block for block in as_list(event["message"].get("content")) if isinstance(block, dict)]
                self._message = {**event["message"], "content": blocks}
                self._message["usage"] = dict(event["message"].get("usage") or {})
            case "content_block_start":
                self._message["content"].append(dict(event["content_block"]))
            case "content_block_delta":
                self._add_delta(event["index"], event["delta"])
            case "message_delta":
                self._message.update(event["delta"])
                merge_usage(self._message["usage"], event.get("usage") or {})

    def _add_delta(self, index: int, delta: Json) -> None:
        block = self._message["content"][index]
        for key, value in delta.items():
            match key:
                case "type":
                    pass
                case "partial_json":
                    self._arguments[index] = self._arguments.get(index, "") + value
                case "citation":
                    block["citations"] = [*(block.get("citations") or []), value]
                case _:
                    before = block.get(key)
                    block[key] = before + value if isinstance(before, str) and isinstance(value, str) else value

    def completion(self) -> Json:
        """The whole message; the input of a tool's call that broke off stays empty."""
        content = self._message.get("content") or []
        blocks = [
            {**block, "input": _input(self._arguments[index])} if self._arguments.get(index) else block
            for index, block in enumerate(content)
        ]
        return {**self._message, "content": blocks}

    def text(self) -> str:
        """The message's text, thinking left out."""
        blocks = self._message.get("content") or []
        return "".join(as_text(block.get("text")) for block in blocks if block.get("type") == "text")

    def tool_calls(self) -> list[ToolCall]:
        """The caller's tools that the message calls."""
        calls = []
        for index, block in enumerate(self._message.get("content") or []):
            if block.get("type") == "tool_use":
                arguments = self._arguments.get(index) or encode(block.get("input") or {}).decode()
                calls.append(ToolCall(as_text(block.get("name")), arguments))
        return calls


def _input(arguments: str) -> Json:
    try:
        parsed = _decode(arguments)
    except msgspec.DecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
