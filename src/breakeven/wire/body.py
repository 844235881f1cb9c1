"""JSON bodies, read and checked at the door."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.errors import MalformedBody

Json = dict[str, Any]

MISSHAPEN = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What reading a document raises that is no JSON, or lacks a field, or holds another type there than it should."""

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


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


def read_stream(document: Json) -> bool:
    """The ``stream`` field; absent means no."""
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise MalformedBody(f"stream = {stream!r}: expected true or false")
    return bool(stream)


def read_list(document: Json, field: str) -> list[Json]:
    """A list of objects that must hold at least one."""
    items = document.get(field)
    if not isinstance(items, list) or not items:
        raise MalformedBody(f"{field}: expected a list with at least one entry")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise MalformedBody(f"{field}[{index}]: expected an object")
    return items


def read_limit(document: Json, field: str) -> int | None:
    """A limit on generated tokens, ``None`` when absent."""
    value = document.get(field)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise MalformedBody(f"{field} = {value!r}: expected a whole number of tokens, 1 or more")
    return value


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_object(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """The value if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def metadata_label(document: Json, name: str) -> str | None:
    """A label that the caller put into ``metadata``."""
    metadata = document.get("metadata")
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and value else None


LABELS = ("agent", "task", "chain", "data", "deadline-seconds", "priority")
"""Metadata by which callers label calls for our books."""


def without_labels(document: Json) -> Json:
    """The document without our own labels, which providers refuse as unknown or out of place."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not any(label in metadata for label in LABELS):
        return document
    theirs = {key: value for key, value in metadata.items() if key not in LABELS}
    if theirs:
        return {**document, "metadata": theirs}
    return {key: value for key, value in document.items() if key != "metadata"}
