"""Events that differ in a piece of text and in nothing else: read by what they share.

A model server sends hundreds of events for one answer, all alike but for a few characters. Once one has been read
whole, whatever begins and ends with the same bytes and holds a JSON string's inside between them says the same with
another text, and need not be parsed again.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from breakeven.wire.body import MISSHAPEN, Json

LESSONS = 8
"""Chunks in a row that are learnt from in vain before nobody tries again: such a server changes more than the text."""
_TEXT = re.compile(rb'"content"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PROBE = "\N{REPLACEMENT CHARACTER} probe"
_decode: Any = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


class TextTemplate:
    """What chat chunks share while nothing but their text changes.

    Attributes:
        index: the choice that the text belongs to.
    """

    __slots__ = ("_after", "_before", "_lessons", "index")

    def __init__(self) -> None:
        self.index = 0
        self._before = self._after = b""
        self._lessons = LESSONS

    def read(self, data: bytes) -> str | None:
        """The text of a chunk that is like the one learnt from; ``None`` for any other."""
        before, after = self._before, self._after
        end = len(data) - len(after)
        if not before or end < len(before) or not data.startswith(before) or not data.endswith(after):
            return None
        try:
            text: str = _decode_text(b'"%b"' % data[len(before) : end])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        self._lessons = LESSONS
        return text

    def learn(self, data: bytes) -> None:
        """Learn from a chunk that has been read and found in order, if there is nothing in it but a piece of text."""
        if not self._lessons:
            return
        self._lessons -= 1
        try:
            chunk = _decode(data)
        except MISSHAPEN:  # in a part that nobody needed to read: no reason to fail, but nothing to learn from
            return
        index = _only_text(chunk)
        if index is None:
            return
        for found in _TEXT.finditer(data):
            before, after = data[: found.start(1)], data[found.end(1) :]
            probe = _decode(before + _PROBE.encode() + after)
            delta = probe["choices"][0]["delta"]
            if delta["content"] == _PROBE:
                delta["content"] = chunk["choices"][0]["delta"]["content"]
                if probe == chunk:
                    self._before, self._after, self.index = before, after, index
                    return


def _only_text(chunk: Json) -> int | None:
    """The index of the choice that a chunk adds text to, when it does nothing else."""
    choices: list[Json] = chunk.get("choices") or []
    part: Json = choices[0] if len(choices) == 1 else {}
    delta = part.get("delta") or {}
    if delta.keys() != {"content"} or not isinstance(delta["content"], str):
        return None
    if any(chunk.get(name) is not None for name in ("usage", "timings", "error")):
        return None
    if any(value is not None for name, value in part.items() if name not in ("index", "delta")):
        return None
    index: int = part.get("index", 0)
    return index
