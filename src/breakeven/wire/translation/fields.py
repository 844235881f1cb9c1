"""What a translation may leave out, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from breakeven.errors import Unsupported
from breakeven.wire.body import Json


def unsupported(field: str, why: str) -> Unsupported:
    """The error for what cannot be said in the other dialect."""
    return Unsupported(
        f"{field}: {why}", remedy="Leave it out, or ask for a model whose provider speaks the dialect of the call."
    )


def refuse_leftovers(document: Mapping[str, Any], known: Iterable[str], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse every field that is neither translated nor set to a value that asks for nothing.

    Args:
        document: the object that was translated.
        known: fields that were taken care of.
        neutral: per field, the values that may be left out because they ask for nothing.

    Raises:
        Unsupported: naming the first such field.
    """
    for key in document.keys() - set(known):
        value = document[key]
        if value is not None and value not in neutral.get(key, ()):
            raise unsupported(
                f"{key} = {_shown(value)}", "has no equivalent in the dialect of the model that would answer"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def given(**fields: Any) -> Json:
    """The fields that have a value."""
    return {key: value for key, value in fields.items() if value is not None}


def blocks_of(content: Any, where: str) -> list[Json]:
    """Content as a list of blocks, whether it came as text or as a list.

    Raises:
        Unsupported: when it is neither.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise unsupported(where, "expected text or a list of content blocks")
    return content


def text_or_parts(parts: list[Json]) -> str | list[Json]:
    """One text as a plain string, which every server takes; anything else as parts."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts
