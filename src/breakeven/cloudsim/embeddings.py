"""OpenAI's ``/v1/embeddings``: unit vectors drawn from a generator seeded by each text."""

from __future__ import annotations

import base64
import math
import random
import struct
from typing import Any

from breakeven.cloudsim import dialect
from breakeven.cloudsim.order import BadRequest, Json
from breakeven.cloudsim.tokens import count

DIMENSIONS = 64


def read_texts(document: Json) -> list[str]:
    """The texts to embed; token lists are embedded as their own writing.

    Raises:
        BadRequest: when there is nothing to embed.
    """
    given = document.get("input")
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given and all(isinstance(item, int) for item in given):
        return [str(given)]
    if isinstance(given, list) and given and all(isinstance(item, str | list) for item in given):
        return [item if isinstance(item, str) else str(item) for item in given]
    raise BadRequest("input: expected a text or a non-empty list of texts", "input")


def count_input(texts: list[str]) -> int:
    """Tokens billed for the texts."""
    return sum(count(text) for text in texts)


def answer(document: Json, texts: list[str], tokens: int, *, report_usage: bool) -> Json:
    """The list of embeddings, as floats or in base 64 as asked."""
    size = dialect.positive(document, "dimensions", most=4096) or DIMENSIONS
    as_base64 = document.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = _vector(text, size)
        shown: Any = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    answered = {"object": "list", "data": data, "model": dialect.require_model(document)}
    return {**answered, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if report_usage else answered


def _vector(text: str, size: int) -> list[float]:
    rng = random.Random(text)
    values = [rng.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
