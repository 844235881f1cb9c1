"""Writing a stream of response events: items opened, grown and closed in order, each event numbered."""

from __future__ import annotations

from typing import Any

from breakeven.wire.body import Json, encode


def encode_event(event: Json) -> bytes:
    """One event, named after its type as this dialect does."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + encode(event) + b"\n\n"


class ResponseEvents:
    """Writes the events of one response.

    Args:
        response: the response without output, as it is sent first and, with output, last.
    """

    def __init__(self, response: Json) -> None:
        self._response = response
        self._number = 0
        self.items: list[Item] = []
        self._written: list[bytes] = []

    def take(self) -> bytes:
        """The events written since this was last asked for."""
        written, self._written = self._written, []
        return b"".join(written)

    def emit(self, kind: str, **fields: Any) -> None:
        """Write one event."""
        self._written.append(encode_event({"type": kind, "sequence_number": self._number, **fields}))
        self._number += 1

    def start(self) -> None:
        """Say that the response is under way."""
        for kind in ("response.created", "response.in_progress"):
            self.emit(kind, response={**self._response, "status": "in_progress", "output": []})

    def add(self, item: Item) -> None:
        """Open an item of output."""
        item.position = len(self.items)
        self.items.append(item)
        self.emit("response.output_item.added", output_index=item.position, item=item.opening())

    def finish(self, status: str, **fields: Any) -> None:
        """Close what is open and send the whole response."""
        for item in self.items:
            item.close(self, "completed" if status == "completed" else "incomplete")
        output = [item.document() for item in self.items]
        kind = "response.completed" if status == "completed" else "response.incomplete"
        self.emit(kind, response={**self._response, "status": status, "output": output, **fields})


class Item:
    """An item of output under way."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.position = 0
        self.status = "in_progress"

    def opening(self) -> Json:
        """The item as it opens."""
        raise NotImplementedError

    def document(self) -> Json:
        """The item as it is now."""
        raise NotImplementedError

    def close(self, events: ResponseEvents, status: str) -> None:
        """Close the item, once."""
        if self.status == "in_progress":
            self.status = status
            self._close_parts(events)
            events.emit("response.output_item.done", output_index=self.position, item=self.document())

    def _close_parts(self, events: ResponseEvents) -> None:
        raise NotImplementedError

    def _place(self) -> Json:
        return {"item_id": self.id, "output_index": self.position}


_PARTS: dict[str, tuple[str, Json]] = {
    "output_text": ("text", {"annotations": [], "logprobs": []}),
    "refusal": ("refusal", {}),
    "reasoning_text": ("text", {}),
}
"""Kinds of content parts: the field that holds their text, and what else they carry."""


class _Parted(Item):
    """An item whose content is parts of text, written one after another."""

    def __init__(self, identifier: str) -> None:
        super().__init__(identifier)
        self.parts: list[tuple[str, str]] = []

    def content(self) -> list[Json]:
        return [_part(kind, text) for kind, text in self.parts]

    def write(self, events: ResponseEvents, kind: str, text: str) -> None:
        """Append text, in a part of its own when it is of another kind than what came before."""
        if not self.parts or self.parts[-1][0] != kind:
            self._close_parts(events)
            self.parts.append((kind, ""))
            at = {**self._place(), "content_index": len(self.parts) - 1}
            events.emit("response.content_part.added", **at, part=_part(kind, ""))
        self.parts[-1] = (kind, self.parts[-1][1] + text)
        extra: Json = {"logprobs": []} if kind == "output_text" else {}
        at = {**self._place(), "content_index": len(self.parts) - 1}
        events.emit(f"response.{kind}.delta", **at, delta=text, **extra)

    def _close_parts(self, events: ResponseEvents) -> None:
        """Close the last part, the only one that can be open."""
        if not self.parts:
            return
        kind, text = self.parts[-1]
        at = {**self._place(), "content_index": len(self.parts) - 1}
        extra: Json = {"logprobs": []} if kind == "output_text" else {}
        events.emit(f"response.{kind}.done", **at, **{_PARTS[kind][0]: text}, **extra)
        events.emit("response.content_part.done", **at, part=_part(kind, text))


def _part(kind: str, text: str) -> Json:
    field, extra = _PARTS[kind]
    return {"type": kind, field: text, **extra}


class Message(_Parted):
    """What the model says."""

    def opening(self) -> Json:
        """The message, empty."""
        return self._message([])

    def document(self) -> Json:
        """The message with its parts."""
        return self._message(self.content())

    def _message(self, content: list[Json]) -> Json:
        return {"id": self.id, "type": "message", "role": "assistant", "status": self.status, "content": content}


class Reasoning(_Parted):
    """What the model thinks, with the signature of its maker when there is one."""

    signature: str | None = None

    def opening(self) -> Json:
        """The reasoning, empty."""
        return {"id": self.id, "type": "reasoning", "summary": [], "content": []}

    def document(self) -> Json:
        """The reasoning with its text."""
        signed = {"encrypted_content": self.signature} if self.signature else {}
        return {"id": self.id, "type": "reasoning", "summary": [], "content": self.content(), **signed}


class FunctionCall(Item):
    """A call of one of the caller's functions."""

    def __init__(self, identifier: str, call_id: str, name: str) -> None:
        super().__init__(identifier)
        self.call_id = call_id
        self.name = name
        self.arguments = ""

    def opening(self) -> Json:
        """The call without arguments."""
        return self._call("")

    def document(self) -> Json:
        """The call with its arguments so far."""
        return self._call(self.arguments)

    def _call(self, arguments: str) -> Json:
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": arguments,
        }

    def write(self, events: ResponseEvents, arguments: str) -> None:
        """Append to the arguments."""
        self.arguments += arguments
        events.emit("response.function_call_arguments.delta", **self._place(), delta=arguments)

    def _close_parts(self, events: ResponseEvents) -> None:
        name, arguments = self.name, self.arguments or "{}"
        self.arguments = arguments
        events.emit("response.function_call_arguments.done", **self._place(), name=name, arguments=arguments)


def as_stream(response: Json) -> list[bytes]:
    """A whole response as the events of a stream, for servers that do not stream."""
    under_way = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events: list[Json] = [{"type": f"response.{state}", "response": under_way} for state in ("created", "in_progress")]
    for index, item in enumerate(response.get("output") or ()):
        at = {"output_index": index}
        opened, written = _opened(item, {**at, "item_id": item.get("id")})
        events += [{"type": "response.output_item.added", **at, "item": opened}, *written]
        events.append({"type": "response.output_item.done", **at, "item": item})
    status = "incomplete" if response.get("status") == "incomplete" else "completed"
    events.append({"type": f"response.{status}", "response": response})
    return [encode_event({**event, "sequence_number": number}) for number, event in enumerate(events)]


def _opened(item: Json, at: Json) -> tuple[Json, list[Json]]:
    """An item as it opens in a stream, and the events that complete it."""
    match item.get("type"):
        case "function_call":
            kind, arguments = "response.function_call_arguments", item.get("arguments") or ""
            done = {"type": f"{kind}.done", **at, "name": item.get("name"), "arguments": arguments}
            opened = {**item, "arguments": "", "status": "in_progress"}
            return opened, [{"type": f"{kind}.delta", **at, "delta": arguments}, done]
        case "message" | "reasoning" if item.get("content"):
            events: list[Json] = []
            for index, part in enumerate(item["content"]):
                events += _part_events(part, {**at, "content_index": index})
            opened = {**item, "content": []}
            return ({**opened, "status": "in_progress"} if "status" in item else opened), events
    return item, []


def _part_events(part: Json, at: Json) -> list[Json]:
    kind = part.get("type", "")
    if kind not in _PARTS:
        return [{"type": f"response.content_part.{state}", **at, "part": part} for state in ("added", "done")]
    field = _PARTS[kind][0]
    text = part.get(field) or ""
    extra: Json = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    return [
        {"type": "response.content_part.added", **at, "part": _part(kind, "")},
        {"type": f"response.{kind}.delta", **at, "delta": text, **extra},
        {"type": f"response.{kind}.done", **at, field: text, **extra},
        {"type": "response.content_part.done", **at, "part": part},
    ]
