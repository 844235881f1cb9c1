"""What the simulated cloud answers: words and JSON drawn from a generator seeded by the request."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

WORDS = (
    "the", "a", "of", "in", "on", "at", "by", "to", "for", "from", "with", "and", "or", "but", "so", "yet",
    "each", "every", "this", "that", "one", "two", "three", "four", "five", "red", "blue", "green", "grey",
    "calm", "quick", "slow", "warm", "cold", "light", "dark", "early", "late", "small", "large", "river", "stone",
    "field", "paper", "table", "chart", "note", "plan", "cost", "price", "token", "model", "agent", "queue",
    "batch", "cache", "route", "cloud", "local", "desk", "ledge", "meter", "watt", "hour", "month", "year", "day",
    "runs", "holds", "keeps", "gives", "takes", "makes", "finds", "shows", "reads", "sends", "waits", "joins",
    "grows", "falls", "turns", "meets", "names",
)  # fmt: skip
"""Each is one token, with the space before it."""

MOST_NESTED = 12
"""Beyond this depth optional properties are left out, so that schemas that contain themselves come to an end."""

_FORMATS = {
    "date": "2026-11-23",
    "date-time": "2026-11-23T09:30:00Z",
    "time": "09:30:00Z",
    "email": "desk@example.org",
    "uri": "https://example.org/a",
    "uuid": "3f0c2f0e-6a57-4f6e-9d0b-0c8b7f1f2a10",
    "ipv4": "192.0.2.7",
    "hostname": "example.org",
}


def prose(rng: random.Random, tokens: int) -> str:
    """A text of exactly this many tokens: each word is one.

    >>> prose(random.Random(1), 4).count(" ")
    3
    """
    words: list[str] = []
    for index in range(tokens):
        word = rng.choice(WORDS)
        words.append(word.capitalize() if index == 0 else " " + word)
    return "".join(words)


def instance(schema: Mapping[str, Any], rng: random.Random) -> Any:
    """A value that the JSON Schema accepts, for the keywords that structured outputs and tools allow.

    ``pattern`` is not looked at.
    """
    return _value(schema, rng, schema, 0)


def json_instance(schema: Mapping[str, Any], rng: random.Random) -> str:
    """The same as compact JSON text."""
    return json.dumps(instance(schema, rng), separators=(",", ":"), ensure_ascii=False)


def _value(schema: Any, rng: random.Random, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping):
        return prose(rng, 2)
    if "$ref" in schema:
        return _value(_resolve(str(schema["$ref"]), root), rng, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(list(schema["enum"]))
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            options = list(schema[union])
            plain = [option for option in options if option.get("type") == "null"]
            return _value(plain[0] if depth > MOST_NESTED and plain else rng.choice(options), rng, root, depth + 1)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            whole = _resolve(str(part["$ref"]), root) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **whole.get("properties", {})}
            required = [*merged.get("required", []), *whole.get("required", [])]
            merged = {**merged, **whole, "properties": properties, "required": required}
        return _value(merged, rng, root, depth + 1)
    return _typed(schema, rng, root, depth)


def _typed(schema: Mapping[str, Any], rng: random.Random, root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
    if isinstance(kind, list):
        kind = "null" if depth > MOST_NESTED and "null" in kind else rng.choice(kind)
    match kind:
        case "object":
            required = set(schema.get("required", ()))
            properties = schema.get("properties", {})
            wanted = {name: part for name, part in properties.items() if name in required or depth < MOST_NESTED}
            return {name: _value(part, rng, root, depth + 1) for name, part in wanted.items()}
        case "array":
            least = int(schema.get("minItems", 0))
            most = int(schema.get("maxItems", max(least, 2)))
            length = least if depth > MOST_NESTED else max(least, min(most, 2))
            return [_value(schema.get("items", {}), rng, root, depth + 1) for _ in range(length)]
        case "integer":
            return _whole(schema, rng)
        case "number":
            low, high = schema.get("minimum", 0), schema.get("maximum", 100)
            return round(low + (high - low) * 0.25, 3) if "multipleOf" not in schema else _whole(schema, rng)
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case _:
            return _string(schema, rng)


def _whole(schema: Mapping[str, Any], rng: random.Random) -> int:
    low = int(schema.get("minimum", int(schema.get("exclusiveMinimum", -1)) + 1))
    high = int(schema.get("maximum", int(schema.get("exclusiveMaximum", low + 100)) - 1))
    step = int(schema.get("multipleOf", 1))
    return -(-rng.randint(low, max(low, high - step + 1)) // step) * step


def _string(schema: Mapping[str, Any], rng: random.Random) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = prose(rng, 3)
    text = text.ljust(int(schema.get("minLength", 0)), "x")
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found
