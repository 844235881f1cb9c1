"""The simulated cloud's own tokeniser: simple, documented, and shared with nobody.

A token is up to five letters with the space before them, up to three digits, a run of white space, or one other
character. Tokens put back together are the text, so that whatever was sent can be counted from what was received.
"""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(r" ?[^\W\d_]{1,5}|\d{1,3}|\s+|.", re.DOTALL)

TOKENS_A_MESSAGE = 3
"""For the role and the marks around a message."""
TOKENS_AN_IMAGE = 260
TOKENS_A_DOCUMENT = 1500


def tokenise(text: str) -> list[str]:
    """The tokens of a text, in order and without loss.

    >>> tokenise("Summarise 2026, please")
    ['Summa', 'rise', ' ', '202', '6', ',', ' pleas', 'e']
    """
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """How many tokens a text has."""
    return len(_TOKEN.findall(text))


def text_of(content: Any) -> str:
    """The text in a message's content, parts of other kinds left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        for field in ("text", "thinking", "content", "output", "arguments", "refusal"):
            if field in content and content[field] is not None:
                return text_of(content[field])
    return ""


def count_content(content: Any) -> int:
    """Tokens of a message's content: text by the tokeniser, images and documents at a flat rate."""
    if isinstance(content, str):
        return count(content)
    if isinstance(content, list):
        return sum(count_content(part) for part in content)
    if not isinstance(content, dict):
        return 0
    kind = content.get("type")
    if kind in ("image", "image_url", "input_image"):
        return TOKENS_AN_IMAGE
    if kind in ("document", "file", "input_file"):
        return TOKENS_A_DOCUMENT
    return count(text_of(content)) + sum(count(_compact(content[key])) for key in ("input", "name") if key in content)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
