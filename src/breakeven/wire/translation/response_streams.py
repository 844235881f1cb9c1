"""Streams between OpenAI response events and chat completion chunks, one piece at a time."""

from __future__ import annotations

from typing import Any, TypeVar

from breakeven.wire import openai_chat, responses
from breakeven.wire.body import Json, encode
from breakeven.wire.openai_quirks import CallNumbers, plain
from breakeven.wire.responses_events import FunctionCall, Item, Message, Reasoning, ResponseEvents
from breakeven.wire.sse import DONE, encode_event
from breakeven.wire.translation.events import EventTranslator
from breakeven.wire.translation.message_answers import parsed_object
from breakeven.wire.translation.reasoning import chat_details, seal_of_detail
from breakeven.wire.translation.response_answers import ending, finish_reason, shell, short_id

_DONE_EVENT = encode_event(DONE)
AnyItem = TypeVar("AnyItem", bound=Item)


class ChunksToResponseEvents(EventTranslator):
    """Chat completion chunks, the first choice of them, to response events.

    Args:
        request: the client's request, which a response repeats.
        created: Unix time of the answer.
    """

    def __init__(self, request: Json, *, created: int) -> None:
        self._request = request
        self._created = created
        self._id = ""
        self._events: ResponseEvents | None = None
        self._model = ""
        self._open: Item | None = None
        self._calls: dict[int, FunctionCall] = {}
        self._numbers = CallNumbers()
        self._finish: str | None = None
        self._usage: Any = None

    def end(self) -> bytes:
        """What closes the stream, once its end has arrived and the call is in the books."""
        events = self._started()
        if not events.items:
            events.add(Message(f"msg_{self._id}"))
        counts = openai_chat.read_usage(self._usage)
        end = ending(self._finish)
        events.finish(end.pop("status"), **end, usage=responses.write_usage(counts) if counts is not None else None)
        return events.take()

    def _take(self, event: Json, out: list[bytes]) -> None:
        self._id = self._id or short_id(event.get("id"))
        self._model = self._model or event.get("model") or ""
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or ():
            if choice.get("index", 0) == 0:
                events = self._started()
                self._delta(plain(choice.get("delta") or {}), events)
                self._finish = choice.get("finish_reason") or self._finish
                out.append(events.take())

    def _started(self) -> ResponseEvents:
        if self._events is None:
            head = shell(self._request, identifier=self._id, model=self._model, created=self._created)
            self._events = ResponseEvents(head)
            self._events.start()
        return self._events

    def _delta(self, delta: Json, events: ResponseEvents) -> None:
        if thinking := delta.get("reasoning_content"):
            self._thought(events).write(events, "reasoning_text", thinking)
        for detail in delta.get("reasoning_details") or ():
            self._thought(events).signature = seal_of_detail(detail)
            self._close(events)
        for field, kind in (("content", "output_text"), ("refusal", "refusal")):
            if delta.get(field):
                self._message(events).write(events, kind, delta[field])
        for call in delta.get("tool_calls") or ():
            self._call(call, events)

    def _thought(self, events: ResponseEvents) -> Reasoning:
        if isinstance(self._open, Reasoning):
            return self._open
        return self._next(Reasoning(f"{responses.OWN_REASONING}{self._id}_{len(events.items)}"), events)

    def _message(self, events: ResponseEvents) -> Message:
        if isinstance(self._open, Message):
            return self._open
        return self._next(Message(f"msg_{self._id}_{len(events.items)}"), events)

    def _next(self, item: AnyItem, events: ResponseEvents) -> AnyItem:
        self._close(events)
        events.add(item)
        self._open = item
        return item

    def _close(self, events: ResponseEvents) -> None:
        """Close the open item; calls with incomplete arguments stay open, as a server may write several at once."""
        if isinstance(self._open, FunctionCall):
            for call in self._calls.values():
                if parsed_object(call.arguments) is not None:
                    call.close(events, "completed")
        elif self._open is not None:
            self._open.close(events, "completed")
        self._open = None

    def _call(self, call: Json, events: ResponseEvents) -> None:
        index = self._numbers.number(call)
        function = call.get("function") or {}
        made = self._calls.get(index)
        if made is None:
            identifier = f"{self._id}_{len(events.items)}"
            made = FunctionCall(f"fc_{identifier}", call.get("id") or f"call_{identifier}", function.get("name") or "")
            self._next(made, events)
            self._calls[index] = made
        if function.get("arguments"):
            made.write(events, function["arguments"])


class ResponseEventsToChunks(EventTranslator):
    """Response events to chat completion chunks.

    Args:
        wants_usage: whether the client asked for the usage.
        created: Unix time of the answer, for a response that does not tell its own.
    """

    def __init__(self, *, wants_usage: bool, created: int) -> None:
        self._wants_usage = wants_usage
        self._head: Json = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._calls: dict[int, int] = {}
        self._response: Json = {}

    def end(self) -> bytes:
        """What closes the stream, once its end has arrived and the call is in the books."""
        out: list[bytes] = []
        self._emit(out, {}, finish_reason(self._response, calls_tools=bool(self._calls)))
        counts = responses.read_usage(self._response.get("usage"))
        if self._wants_usage and counts is not None:
            out.append(encode_event(encode({**self._head, "choices": [], "usage": openai_chat.write_usage(counts)})))
        return b"".join([*out, _DONE_EVENT])

    def _take(self, event: Json, out: list[bytes]) -> None:
        match event["type"]:
            case "response.created":
                response = event["response"]
                self._head["id"], self._head["model"] = response.get("id") or "", response.get("model") or ""
                self._head["created"] = int(response.get("created_at") or self._head["created"])
                self._emit(out, {"role": "assistant", "content": ""})
            case "response.output_text.delta":
                self._emit(out, {"content": event["delta"]})
            case "response.refusal.delta":
                self._emit(out, {"refusal": event["delta"]})
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                self._emit(out, {"reasoning_content": event["delta"]})
            case "response.output_item.added" if event["item"]["type"] == "function_call":
                item = event["item"]
                self._calls[event["output_index"]] = number = len(self._calls)
                function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
                call = {"index": number, "id": item.get("call_id"), "type": "function", "function": function}
                self._emit(out, {"tool_calls": [call]})
            case "response.function_call_arguments.delta":
                call = {"index": self._calls[event["output_index"]], "function": {"arguments": event["delta"]}}
                self._emit(out, {"tool_calls": [call]})
            case "response.output_item.done" if event["item"]["type"] == "reasoning":
                if details := chat_details(event["item"]):
                    self._emit(out, {"reasoning_details": details})
            case "response.completed" | "response.incomplete":
                self._response = event["response"]

    def _emit(self, out: list[bytes], delta: Json, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        out.append(encode_event(encode({**self._head, "choices": [choice]})))
