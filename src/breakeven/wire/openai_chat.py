"""The OpenAI chat completions dialect: requests, usage, and an answer cut into the stream it could have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError, MalformedBody

Json = dict[str, Any]
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


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
