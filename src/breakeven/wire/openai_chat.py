"""The OpenAI chat completions dialect: requests, usage, and an answer cut into the stream it could have been."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError, MalformedBody
from breakeven.wire.body import (
    Json,
    as_list,
    as_object,
    parse_object,
    read_list,
    read_model,
    read_stream,
)
from breakeven.wire.request import Dialect, ModelRequest, Need, Part

_MEDIA: dict[str, Part] = {"image_url": Part("vision"), "input_audio": Part("audio"), "file": Part("files")}


class ChatRequest(ModelRequest):
    """A request for a chat completion."""

    dialect: ClassVar[Dialect] = "openai"

    def parts(self) -> Iterator[Part]:
        """Text and media of the messages, calls of tools included."""
        for message in self.document["messages"]:
            content = message.get("content")
            if isinstance(content, str):
                yield Part("text", content)
            elif isinstance(content, list):
                yield from (_part(part) for part in content if isinstance(part, dict))
            for call in as_list(message.get("tool_calls")):
                arguments = as_object(as_object(call).get("function")).get("arguments")
                if isinstance(arguments, str):
                    yield Part("text", arguments)

    def text_characters(self) -> int:
        """Characters of text in the messages, media and tool definitions left out: the basis of estimates."""
        total = 0
        for message in self.document["messages"]:
            content = message.get("content")
            if type(content) is not str or "tool_calls" in message:
                return super().text_characters()
            total += len(content)
        return total

    def _asked(self) -> Iterator[Need]:
        document = self.document
        if document.get("tools") or document.get("functions"):
            yield "tools"
        if document.get("web_search_options") is not None:
            yield "hosted_tools"
        if document.get("logprobs"):
            yield "logprobs"
        if "audio" in as_list(document.get("modalities")):
            yield "audio"
        if document.get("reasoning_effort") not in (None, "none"):
            yield "reasoning"
        kind = as_object(document.get("response_format")).get("type")
        if kind == "json_schema":
            yield "json_schema"
        elif kind == "json_object":
            yield "json"


def _part(part: Json) -> Part:
    text = part.get("text")
    if isinstance(text, str):
        return Part("text", text)
    kind = str(part.get("type"))
    medium = _MEDIA.get(kind)
    if medium is None:
        return Part("text")
    details = part.get(kind)
    encoded = 0
    if isinstance(details, dict):
        for value in (details.get("url"), details.get("data"), details.get("file_data")):
            if isinstance(value, str) and not value.startswith(("http://", "https://")):
                encoded += len(value)
    return medium._replace(encoded=encoded)


def _limit(document: Json, field: str) -> int | None:
    """A limit on generated tokens; some servers take zero or less to mean none."""
    value = document.get(field)
    return value if isinstance(value, int) and value > 0 else None


def parse_chat_request(body: bytes) -> ChatRequest:
    """Check what the gateway itself relies on; what only the model server reads is left to it.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    document = parse_object(body)
    read_list(document, "messages")
    options = document.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise MalformedBody(f"stream_options = {options!r}: expected an object")
    choices = document.get("n")
    return ChatRequest(
        document,
        read_model(document),
        stream=read_stream(document),
        wants_usage=bool(options and options.get("include_usage")),
        max_output_tokens=_limit(document, "max_completion_tokens") or _limit(document, "max_tokens"),
        choices=choices if isinstance(choices, int) and choices > 1 else 1,
        body_bytes=len(body),
    )


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


def write_usage(counts: TokenCounts) -> Json:
    """A ``usage`` object for these counts; the dialect knows one lifetime of cache writes only."""
    written = counts.cache_write_5m + counts.cache_write_1h
    prompt_details = {"cached_tokens": counts.cache_read, **({"cache_write_tokens": written} if written else {})}
    usage: Json = {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.total,
        "prompt_tokens_details": prompt_details,
    }
    if counts.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": counts.reasoning}
    return usage


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
        rest = {key: value for key, value in choice.items() if key not in ("index", "message", "finish_reason")}
        delta = {"index": choice.get("index", 0), "delta": message, "finish_reason": None, **rest}
        finish = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        chunks += [{**head, "choices": [delta]}, {**head, "choices": [finish]}]
    return [*chunks, {**head, "choices": [], "usage": completion.get("usage")}]
