"""The OpenAI responses dialect: requests and usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError, MalformedBody
from breakeven.wire.body import Json, as_list, as_object, parse_object, read_limit, read_model, read_stream
from breakeven.wire.request import Dialect, ModelRequest, Need, Part

OWN_REASONING = "rs_translated_"
"""How ids of reasoning items begin that were translated from another dialect: no server of this dialect knows them."""


class ResponsesRequest(ModelRequest):
    """A request for a response."""

    dialect: ClassVar[Dialect] = "responses"

    def parts(self) -> Iterator[Part]:
        """Text and media of the instructions and the input, calls and results of tools included."""
        yield from _parts(self.document.get("instructions"))
        given = self.document.get("input")
        if isinstance(given, str):
            yield Part("text", given)
        for item in as_list(given):
            if isinstance(item, dict):
                for key in ("content", "arguments", "input", "output"):
                    yield from _parts(item.get(key))

    def _asked(self) -> Iterator[Need]:
        document = self.document
        for tool in self.tools():
            yield "tools" if tool.get("type") in ("function", "custom") else "hosted_tools"
        if any(document.get(key) for key in ("previous_response_id", "conversation", "background", "prompt")):
            yield "stored_state"
        if document.get("top_logprobs"):
            yield "logprobs"
        if as_object(document.get("reasoning")).get("effort") not in (None, "none"):
            yield "reasoning"
        kind = as_object(as_object(document.get("text")).get("format")).get("type")
        if kind == "json_schema":
            yield "json_schema"
        elif kind == "json_object":
            yield "json"


def _parts(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        yield Part("text", content)
    for part in as_list(content):
        if isinstance(part, dict):
            match part.get("type"):
                case "input_image":
                    yield Part("vision", encoded=_encoded(part.get("image_url")))
                case "input_file":
                    yield Part("files", encoded=_encoded(part.get("file_data")))
                case "input_audio":
                    yield Part("audio", encoded=_encoded(as_object(part.get("input_audio")).get("data")))
                case _:
                    text = part.get("text")
                    yield Part("text", text if isinstance(text, str) else "")


def _encoded(content: object) -> int:
    return len(content) if isinstance(content, str) and not content.startswith(("http://", "https://")) else 0


def parse_responses_request(body: bytes) -> ResponsesRequest:
    """Check what the gateway itself relies on; what only the model server reads is left to it.

    Raises:
        MalformedBody: naming the field and what was expected.
    """
    document = parse_object(body)
    given = document.get("input")
    if given is not None and not isinstance(given, str):
        if not isinstance(given, list):
            raise MalformedBody("input: expected text or a list of items")
        for index, item in enumerate(given):
            if not isinstance(item, dict):
                raise MalformedBody(f"input[{index}]: expected an object")
    return ResponsesRequest(
        document,
        read_model(document),
        stream=read_stream(document),
        wants_usage=True,
        max_output_tokens=read_limit(document, "max_output_tokens"),
        body_bytes=len(body),
    )


def without_own_reasoning(document: Json) -> Json:
    """The document without reasoning of other models, as may be left from earlier turns: OpenAI's refuse it."""
    given = document.get("input")
    if not isinstance(given, list):
        return document
    kept = [item for item in given if not _is_own_reasoning(item)]
    return document if len(kept) == len(given) else {**document, "input": kept}


def _is_own_reasoning(item: Json) -> bool:
    return item.get("type") == "reasoning" and str(item.get("id")).startswith(OWN_REASONING)


def read_usage(usage: object) -> TokenCounts | None:
    """Token counts of a ``usage`` object, ``None`` when there is none to read or it contradicts itself.

    Cached tokens are counted within ``input_tokens`` and reasoning within ``output_tokens``.
    """
    if not isinstance(usage, dict):
        return None
    fresh, output = usage.get("input_tokens"), usage.get("output_tokens")
    if not isinstance(fresh, int) or not isinstance(output, int):
        return None
    details = as_object(usage.get("input_tokens_details"))
    cached, written = details.get("cached_tokens"), details.get("cache_write_tokens")
    reasoning = as_object(usage.get("output_tokens_details")).get("reasoning_tokens")
    try:
        return TokenCounts.reported(
            input_tokens=fresh,
            output_tokens=output,
            input_includes_cached=True,
            cache_read=cached if isinstance(cached, int) else 0,
            cache_write_5m=written if isinstance(written, int) else 0,
            reasoning=reasoning if isinstance(reasoning, int) else None,
        )
    except InputError:
        return None


def write_usage(counts: TokenCounts) -> Json:
    """A ``usage`` object for these counts; the dialect demands a number for reasoning even where nobody said."""
    written = counts.cache_write_5m + counts.cache_write_1h
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cache_read, "cache_write_tokens": written},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
        "total_tokens": counts.total,
    }
