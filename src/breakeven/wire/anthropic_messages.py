"""The Anthropic messages dialect: requests, usage, and an answer cut into the stream it could have been."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError, MalformedBody
from breakeven.wire.body import (
    Json,
    as_list,
    as_object,
    encode,
    parse_object,
    read_limit,
    read_list,
    read_model,
    read_stream,
)
from breakeven.wire.request import Dialect, ModelRequest, Need, Part


class MessagesRequest(ModelRequest):
    """A request for a message."""

    dialect: ClassVar[Dialect] = "anthropic"

    def parts(self) -> Iterator[Part]:
        """Text and media of the system prompt and the messages, calls and results of tools included."""
        for part in _parts(self.document.get("system")):
            yield part._replace(text=without_attribution(part.text))
        for message in self.document["messages"]:
            yield from _parts(message.get("content"))

    def _asked(self) -> Iterator[Need]:
        document = self.document
        for tool in self.tools():
            yield "tools" if is_function(tool) else "hosted_tools"
        if document.get("mcp_servers") or document.get("container"):
            yield "hosted_tools"
        if output_format(document) is not None:
            yield "json_schema"
        if as_object(document.get("thinking")).get("type") == "enabled":
            yield "reasoning"


_ATTRIBUTION = "x-anthropic-billing-header:"


def without_attribution(system: str) -> str:
    """A text of the system prompt without the line for Anthropic's billing by which Claude Code begins it.

    The line differs from call to call: before another model it would break every cache of the prompt.
    """
    return system.partition("\n")[2] if system.startswith(_ATTRIBUTION) else system


def is_function(tool: Json) -> bool:
    """Whether a tool is described by its schema and run by the caller, as against one of Anthropic's own."""
    return tool.get("type") in (None, "custom")


def output_format(document: Json) -> Json | None:
    """The format of structured output, where it is now (``output_config``) or was in its beta."""
    found = as_object(document.get("output_config")).get("format") or document.get("output_format")
    return found if isinstance(found, dict) else None


def _parts(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        yield Part("text", content)
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict):
                yield from _block_parts(block)


def _block_parts(block: Json) -> Iterator[Part]:
    match block.get("type"):
        case "text":
            yield Part("text", _text(block, "text"))
        case "thinking":
            yield Part("text", _text(block, "thinking"))
        case "image":
            yield Part("vision", encoded=_encoded(block))
        case "document":
            source = as_object(block.get("source"))
            if source.get("type") in ("text", "content"):
                yield from _parts(source.get("data") or source.get("content"))
            else:
                yield Part("files", encoded=_encoded(block))
        case "tool_use" | "server_tool_use":
            yield Part("text", encode(block.get("input")).decode())
        case _:
            yield from _parts(block.get("content"))


def _text(block: Json, key: str) -> str:
    text = block.get(key)
    return text if isinstance(text, str) else ""


def _encoded(block: Json) -> int:
    data = as_object(block.get("source")).get("data")
    return len(data) if isinstance(data, str) else 0


def without_unsigned_thinking(document: Json) -> Json:
    """The document without thinking of other models, as may be left from earlier turns: Anthropic's refuse it."""
    messages = [_without_unsigned_thinking(message) for message in document["messages"]]
    return {**document, "messages": [message for message in messages if message.get("content") != []]}


def _without_unsigned_thinking(message: Json) -> Json:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return message
    kept = [block for block in content if not _is_unsigned_thinking(block)]
    return message if len(kept) == len(content) else {**message, "content": kept}


def _is_unsigned_thinking(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")


def parse_messages_request(body: bytes) -> MessagesRequest:
    """Check what the gateway itself relies on; what only the model server reads is left to it.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    request = parse_count_request(body)
    if request.max_output_tokens is None:
        raise MalformedBody("max_tokens: expected a limit on generated tokens, which this dialect requires")
    return request


def parse_count_request(body: bytes) -> MessagesRequest:
    """A request to count tokens: a request for a message that need not say how much to generate.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    document = parse_object(body)
    read_list(document, "messages")
    return MessagesRequest(
        document,
        read_model(document),
        stream=read_stream(document),
        wants_usage=True,
        max_output_tokens=read_limit(document, "max_tokens"),
        body_bytes=len(body),
    )


def read_usage(usage: object) -> TokenCounts | None:
    """Token counts of a ``usage`` object, ``None`` when there is none to read or it contradicts itself.

    Anthropic counts cached tokens beside ``input_tokens``, not within. Writes to the cache that the breakdown
    by lifetime leaves out (it does not grow in the course of a stream, the total does) are five-minute writes,
    which is the default. Summaries that the server makes of a long context are billed beside the totals, and added.
    """
    counts = _read_counts(usage)
    if counts is None:
        return None
    for iteration in as_list(as_object(usage).get("iterations")):
        if as_object(iteration).get("type") == "compaction":
            counts += _read_counts(iteration) or TokenCounts()
    return counts


def _read_counts(usage: object) -> TokenCounts | None:
    if not isinstance(usage, dict):
        return None
    fresh, output = usage.get("input_tokens"), usage.get("output_tokens")
    if not isinstance(fresh, int) or not isinstance(output, int):
        return None
    lifetimes, details = usage.get("cache_creation"), usage.get("output_tokens_details")
    hour = _count(lifetimes, "ephemeral_1h_input_tokens")
    written = max(_count(usage, "cache_creation_input_tokens"), hour + _count(lifetimes, "ephemeral_5m_input_tokens"))
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    try:
        return TokenCounts.reported(
            input_tokens=fresh,
            output_tokens=output,
            input_includes_cached=False,
            cache_read=_count(usage, "cache_read_input_tokens"),
            cache_write_5m=written - hour,
            cache_write_1h=hour,
            reasoning=thinking if isinstance(thinking, int) else None,
        )
    except InputError:
        return None


def _count(counts: object, key: str) -> int:
    value = counts.get(key) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0


def write_usage(counts: TokenCounts) -> Json:
    """A ``usage`` object for these counts."""
    usage: Json = {
        "input_tokens": counts.uncached_input,
        "cache_creation_input_tokens": counts.cache_write_5m + counts.cache_write_1h,
        "cache_read_input_tokens": counts.cache_read,
        "output_tokens": counts.output,
    }
    if counts.cache_write_1h:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": counts.cache_write_5m,
            "ephemeral_1h_input_tokens": counts.cache_write_1h,
        }
    if counts.reasoning is not None:
        usage["output_tokens_details"] = {"thinking_tokens": counts.reasoning}
    return usage


def as_stream(message: Json) -> list[Json]:
    """A whole message as the events of a stream, for servers that do not stream."""
    usage = message.get("usage") or {}
    ending = {key: message.get(key) for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    start: Json = {**message, "content": [], **dict.fromkeys(ending)}
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(message.get("content") or []):
        opened, delta = _opened(block)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        if delta is not None:
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    counts = {"output_tokens": usage.get("output_tokens", 0)}
    return [*events, {"type": "message_delta", "delta": ending, "usage": counts}, {"type": "message_stop"}]


def _opened(block: Json) -> tuple[Json, Json | None]:
    """A block as it opens in a stream, and the delta that completes it."""
    match block.get("type"):
        case "text":
            return {**block, "text": ""}, {"type": "text_delta", "text": block.get("text", "")}
        case "thinking":
            return {**block, "thinking": ""}, {"type": "thinking_delta", "thinking": block.get("thinking", "")}
        case "tool_use" | "server_tool_use":
            given = encode(block.get("input") or {}).decode()
            return {**block, "input": {}}, {"type": "input_json_delta", "partial_json": given}
        case _:
            return block, None
