"""Streams of the OpenAI responses dialect: followed event by event, and folded into the response they stand for."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.wire.body import MISSHAPEN, Json, as_list, as_object, as_text
from breakeven.wire.reader import Finish, StreamReader, ToolCall, other_tier
from breakeven.wire.responses import read_usage
from breakeven.wire.sse import DONE, event_data

_decode = msgspec.json.Decoder().decode
_HOSTED = "_call"
_OWN_CALLS = ("function_call", "custom_tool_call")


class _Response(msgspec.Struct):
    model: str | None = None
    service_tier: Any = None
    usage: Any = None
    error: Any = None


class _Item(msgspec.Struct):
    type: str = ""
    name: str | None = None


class _Event(msgspec.Struct):
    """What we work with in an event; everything else in it is passed through."""

    type: str
    response: _Response | None = None
    item: _Item | None = None
    delta: Any = None
    error: Any = None
    message: Any = None
    code: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


class ResponseReader(StreamReader):
    """Follows a stream of response events.

    The event that closes the stream carries the whole response. It is held back until the call is in the books.
    """

    def __init__(self, *, fold: bool) -> None:
        super().__init__(ResponseFold() if fold else None, b"")
        self._calls_tools = False
        self._refuses = False

    def take(self, event: bytes) -> bytes | None:
        """Note one event; return the bytes to pass on, or ``None`` to hold them back."""
        data = event_data(event)
        if data is None:
            return event
        if data == DONE:
            return None
        try:
            read = _decode_event(data)
            whole: Json = _decode(data) if self.answer is not None or read.type in _ENDINGS else {}
            response: Json = {**whole["response"]} if read.type in _ENDINGS else {}
            if self.answer is not None:
                self.answer.add(whole)
        except MISSHAPEN as error:
            self._broken("response event", error)
            return None
        if read.type in ("error", "response.failed") or read.error is not None:
            failed = read.error or (read.response.error if read.response is not None else None)
            self.error = failed if isinstance(failed, dict) else {"message": str(read.message), "code": read.code}
            if read.response is not None:
                self._note_response(read.response)
                self.finished = self.usage is not None
            return None
        self.started = True
        self._note(read)
        if read.type in _ENDINGS:
            self.done = self.finished = True
            self.finish = self._finish(response)
            self.ending = event
            return None
        return event

    def _note(self, event: _Event) -> None:
        if event.response is not None:
            self._note_response(event.response)
        if isinstance(event.delta, str) and not event.type.startswith("response.audio."):
            self._generated(len(event.delta))
            self._refuses = self._refuses or event.type == "response.refusal.delta"
        if event.item is not None:
            self._note_item(event.type, event.item)

    def _note_response(self, response: _Response) -> None:
        self.model = response.model or self.model
        if response.service_tier is not None:
            self.tier = other_tier(response.service_tier)
        self.usage = read_usage(response.usage) or self.usage

    def _note_item(self, kind: str, item: _Item) -> None:
        if item.type in _OWN_CALLS:
            self._calls_tools = True
            if kind == "response.output_item.added":
                self._generated(len(item.name or ""))
        elif item.type.endswith(_HOSTED) and kind == "response.output_item.done":
            self.server_tools[item.type] = self.server_tools.get(item.type, 0) + 1

    def _finish(self, response: Json) -> Finish:
        if response.get("status") == "incomplete":
            reason = as_object(response.get("incomplete_details")).get("reason")
            return "content_filter" if reason == "content_filter" else "length"
        if self._calls_tools:
            return "tool_use"
        return "refusal" if self._refuses else "stop"


_ENDINGS = ("response.completed", "response.incomplete")


class ResponseFold:
    """Folds response events into the one response they stand for, which the last event carries whole."""

    def __init__(self) -> None:
        self._response: Json = {}
        self._items: dict[int, Json] = {}
        self._texts: dict[tuple[int, str], str] = {}

    def add(self, event: Json) -> None:
        """Take in one event."""
        if isinstance(event.get("response"), dict):
            self._response = event["response"]
        match event["type"]:
            case "response.output_item.added" | "response.output_item.done":
                self._items[event["output_index"]] = event["item"]
            case "response.output_text.delta" | "response.function_call_arguments.delta":
                key = (event["output_index"], event["type"])
                self._texts[key] = self._texts.get(key, "") + event["delta"]

    def completion(self) -> Json:
        """The whole response; if it was cut, with the items that were completed."""
        output = as_list(self._response.get("output")) or [self._items[index] for index in sorted(self._items)]
        return {**self._response, "output": [item for item in output if isinstance(item, dict)]}

    def text(self) -> str:
        """The response's text, reasoning left out."""
        parts = [
            as_object(part)
            for item in as_list(self._response.get("output"))
            if as_object(item).get("type") == "message"
            for part in as_list(item.get("content"))
        ]
        pieces = [as_text(part.get("text")) for part in parts if part.get("type") == "output_text"]
        if pieces:
            return "".join(pieces)
        return "".join(text for (_, kind), text in sorted(self._texts.items()) if kind == "response.output_text.delta")

    def tool_calls(self) -> list[ToolCall]:
        """The caller's tools that the response calls."""
        items = self.completion()["output"]
        return [
            ToolCall(as_text(item.get("name")), as_text(item.get("arguments") or item.get("input")))
            for item in items
            if item.get("type") in _OWN_CALLS
        ]
