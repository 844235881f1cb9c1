"""Prompt templates: ``{{ item.subject }}`` and ``{{ classify.topic }}``, nothing more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


def names(template: str) -> list[str]:
    """The dotted names that a template asks for, in order."""
    return _PLACE.findall(template)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template; what is no text is written as JSON.

    Raises:
        KeyError: a name leads nowhere; its argument is the whole name.
    """
    return _PLACE.sub(lambda place: _text(look_up(place[1], values)), template)


def look_up(name: str, values: Mapping[str, Any]) -> Any:
    """The value behind a dotted name; raises as ``render``."""
    found: Any = values
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise KeyError(name)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
