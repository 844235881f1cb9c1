"""Streams between Anthropic message events and chat completion chunks, one piece at a time."""

from __future__ import annotations

from typing import Any

from breakeven.wire import anthropic_messages, openai_chat
from breakeven.wire.anthropic_stream import encode_event as encode_message_event
from breakeven.wire.anthropic_stream import merge_usage
from breakeven.wire.body import Json, encode
from breakeven.wire.openai_quirks import CallNumbers, plain
from breakeven.wire.sse import DONE, encode_event
from breakeven.wire.translation.chat_to_messages import tool_id
from breakeven.wire.translation.events import EventTranslator
from breakeven.wire.translation.message_answers import FINISH_REASONS, parsed_object, stop_reason
from breakeven.wire.translation.reasoning import detail_of_block, is_signed

_DONE_EVENT = encode_event(DONE)


class ChunksToMessageEvents(EventTranslator):
    """Chat completion chunks, the first choice of them, to message events."""

    def __init__(self) -> None:
        self._started = False
        self._id = ""
        self._model = ""
        self._blocks = 0
        self._open: str | None = None
        self._tools: dict[int, _ToolBlock] = {}
        self._numbers = CallNumbers()
        self._finish: str | None = None
        self._refuses = False
        self._usage: Any = None

    def end(self) -> bytes:
        """What closes the stream, once its end has arrived and the call is in the books."""
        out: list[bytes] = []
        self._start(out)
        self._close(out)
        for tool in self._tools.values():
            tool.close(out)
        counts = openai_chat.read_usage(self._usage)
        reason = stop_reason(self._finish, calls_tools=bool(self._tools), refuses=self._refuses)
        usage = anthropic_messages.write_usage(counts) if counts is not None else {"output_tokens": 0}
        delta = {"stop_reason": reason, "stop_sequence": None}
        _emit(out, type="message_delta", delta=delta, usage=usage)
        _emit(out, type="message_stop")
        return b"".join(out)

    def _take(self, event: Json, out: list[bytes]) -> None:
        self._id = self._id or event.get("id") or ""
        self._model = self._model or event.get("model") or ""
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._start(out)
                self._delta(plain(choice.get("delta") or {}), out)
                self._finish = choice.get("finish_reason") or self._finish

    def _delta(self, delta: Json, out: list[bytes]) -> None:
        if thinking := delta.get("reasoning_content"):
            self._text(out, "thinking", {"type": "thinking", "thinking": "", "signature": ""}, thinking)
        for key in ("content", "refusal"):
            if delta.get(key):
                self._text(out, "text", {"type": "text", "text": ""}, delta[key])
        self._refuses = self._refuses or bool(delta.get("refusal"))
        for call in delta.get("tool_calls") or ():
            self._tool(call, out)

    def _start(self, out: list[bytes]) -> None:
        """Begin the message. The prompt's tokens are not known yet: the usage at the end has them."""
        if self._started:
            return
        self._started = True
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        _emit(out, type="message_start", message=message)

    def _text(self, out: list[bytes], kind: str, block: Json, text: str) -> None:
        if self._open != kind:
            self._close(out)
            _emit(out, type="content_block_start", index=self._blocks, content_block=block)
            self._open = kind
        delta = {"type": f"{kind}_delta", kind: text}
        _emit(out, type="content_block_delta", index=self._blocks, delta=delta)

    def _close(self, out: list[bytes]) -> None:
        """Close the open block of text, or the tools' blocks whose input is complete.

        A server may write several calls at once, in turns; their blocks then stay open side by side.
        """
        if self._open in ("text", "thinking"):
            _emit(out, type="content_block_stop", index=self._blocks)
            self._blocks += 1
        elif self._open == "tools":
            for tool in self._tools.values():
                if parsed_object(tool.arguments) is not None:
                    tool.close(out)
        self._open = None

    def _tool(self, call: Json, out: list[bytes]) -> None:
        index = self._numbers.number(call)
        function = call.get("function") or {}
        tool = self._tools.get(index)
        if tool is None:
            self._close(out)
            tool = self._tools[index] = _ToolBlock(self._blocks)
            self._blocks += 1
            block: Json = {
                "type": "tool_use",
                "id": tool_id(call.get("id") or f"{self._id or 'call'}_{index}"),
                "name": function.get("name") or "",
                "input": {},
            }
            _emit(out, type="content_block_start", index=tool.index, content_block=block)
            self._open = "tools"
        if function.get("arguments"):
            tool.write(function["arguments"], out)


class _ToolBlock:
    """A call of a tool under way."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.arguments = ""
        self._closed = False

    def write(self, arguments: str, out: list[bytes]) -> None:
        self.arguments += arguments
        delta = {"type": "input_json_delta", "partial_json": arguments}
        _emit(out, type="content_block_delta", index=self.index, delta=delta)

    def close(self, out: list[bytes]) -> None:
        if not self._closed:
            self._closed = True
            _emit(out, type="content_block_stop", index=self.index)


def _emit(out: list[bytes], **event: Any) -> None:
    out.append(encode_message_event(event))


class MessageEventsToChunks(EventTranslator):
    """Message events to chat completion chunks.

    Args:
        wants_usage: whether the client asked for the usage.
        created: Unix time of the answer, which messages do not carry.
    """

    def __init__(self, *, wants_usage: bool, created: int) -> None:
        self._wants_usage = wants_usage
        self._head: Json = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._usage: Json = {}
        self._tools: dict[int, int] = {}
        self._thoughts: dict[int, Json] = {}
        self._reason: str | None = None

    def end(self) -> bytes:
        """What closes the stream, once its end has arrived and the call is in the books."""
        out: list[bytes] = []
        self._emit(out, {}, FINISH_REASONS.get(str(self._reason), "stop"))
        counts = anthropic_messages.read_usage(self._usage)
        if self._wants_usage and counts is not None:
            out.append(encode_event(encode({**self._head, "choices": [], "usage": openai_chat.write_usage(counts)})))
        return b"".join([*out, _DONE_EVENT])

    def _take(self, event: Json, out: list[bytes]) -> None:
        match event.get("type"):
            case "ping":
                out.append(b": ping\n\n")
            case "message_start":
                message = event["message"]
                self._head["id"], self._head["model"] = message.get("id") or "", message.get("model") or ""
                merge_usage(self._usage, message.get("usage") or {})
                self._emit(out, {"role": "assistant", "content": ""})
            case "content_block_start":
                self._block(event["index"], event["content_block"], out)
            case "content_block_delta":
                self._delta(event["index"], event["delta"], out)
            case "content_block_stop":
                thought = self._thoughts.pop(event["index"], {})
                if is_signed(thought):
                    self._emit(out, {"reasoning_details": [detail_of_block(thought, event["index"])]})
            case "message_delta":
                self._reason = event["delta"].get("stop_reason") or self._reason
                merge_usage(self._usage, event.get("usage") or {})
                explanation = (event["delta"].get("stop_details") or {}).get("explanation")
                if self._reason == "refusal" and explanation:
                    self._emit(out, {"refusal": explanation})

    def _block(self, index: int, block: Json, out: list[bytes]) -> None:
        match block["type"]:
            case "text" if block.get("text"):
                self._emit(out, {"content": block["text"]})
            case "thinking" | "redacted_thinking":
                self._thoughts[index] = dict(block)
            case "tool_use":
                self._tools[index] = number = len(self._tools)
                function = {"name": block.get("name"), "arguments": ""}
                call = {"index": number, "id": block.get("id"), "type": "function", "function": function}
                self._emit(out, {"tool_calls": [call]})

    def _delta(self, index: int, delta: Json, out: list[bytes]) -> None:
        match delta["type"]:
            case "text_delta":
                self._emit(out, {"content": delta["text"]})
            case "thinking_delta":
                self._thoughts[index]["thinking"] += delta["thinking"]
                self._emit(out, {"reasoning_content": delta["thinking"]})
            case "signature_delta":
                self._thoughts[index]["signature"] = delta["signature"]
            case "input_json_delta" if index in self._tools:
                call = {"index": self._tools[index], "function": {"arguments": delta["partial_json"]}}
                self._emit(out, {"tool_calls": [call]})

    def _emit(self, out: list[bytes], delta: Json, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        out.append(encode_event(encode({**self._head, "choices": [choice]})))
