"""Files of any size, read piece by piece."""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from breakeven.ledger.importers.found import Problem

HEAD_BYTES = 64 * 1024
"""How much of a file its format is told by."""
LONGEST_VALUE = 1 << 28
"""Bytes of one JSON object or one CSV field; longer ones are taken for broken rather than kept in memory."""
RESCANS = 100
"""How often the lines of an object that does not end are looked through for whole ones."""

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|([{\[])|([}\]])')


class OpenFile:
    """A file being read; ``progress`` is told how many bytes of it have been, a piece at a time."""

    def __init__(self, path: Path, stream: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> None:
        self.path = path
        self._stream = stream
        self._progress = progress

    def first_line(self) -> bytes:
        """The first line, or the beginning of a long one; reading goes on from the beginning."""
        line = self._stream.readline(HEAD_BYTES)
        self._stream.seek(0)
        return line

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines that are not blank, with their numbers, from 1."""
        pending = 0
        for number, line in enumerate(self._stream, start=1):
            pending += len(line)
            if pending >= HEAD_BYTES:
                self._progress(pending)
                pending = 0
            if not line.isspace():
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        self._progress(pending)

    def rows(self) -> Iterator[tuple[int, list[str]] | Problem]:
        """Rows of a CSV file with the numbers of their last lines, the heading first."""
        csv.field_size_limit(LONGEST_VALUE)
        reader = csv.reader(line.decode("utf-8", "replace").replace("\0", "�") for _, line in self.lines())
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(reader.line_num, str(error))
            else:
                yield reader.line_num, row

    def documents(self) -> Iterator[tuple[int, bytes]]:
        """The JSON objects of a file, with the lines they begin on, however they are laid out: one to a line, over many
        lines, or as the elements of an array. What is no whole object is given out as it stands."""
        source = self.lines()
        again: deque[tuple[int, bytes]] = deque()
        rescans = RESCANS
        while True:
            entry = again.popleft() if again else next(source, None)
            if entry is None:
                return
            number, line = entry
            text = _without_frame(line)
            if text.startswith(b"[") and (elements := _elements(text)) is not None:
                yield from ((number, bytes(element)) for element in elements)
                continue
            text = text.removeprefix(b"[").lstrip()
            if not text:
                continue
            if not text.startswith(b"{") or _whole(text):
                yield number, text
                continue
            kept, depth, size = [(number, text)], _depth(text), len(text)
            while depth > 0 and size < LONGEST_VALUE and (entry := again.popleft() if again else next(source, None)):
                kept.append(entry)
                depth += _depth(entry[1])
                size += len(entry[1])
            if depth <= 0 or not rescans:
                yield number, _without_frame(b"".join(line for _, line in kept))
            else:
                yield kept[0]
                again.extendleft(reversed(kept[1:]))
                rescans -= 1


def _without_frame(line: bytes) -> bytes:
    """A line without the commas and the closing bracket of an array around it."""
    text = line.strip().strip(b",").strip()
    return b"" if text == b"]" else text


def _elements(text: bytes) -> list[msgspec.Raw] | None:
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return None


def _whole(text: bytes) -> bool:
    if not text.endswith(b"}"):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _depth(text: bytes) -> int:
    """How many brackets a text leaves open."""
    opened = closed = 0
    for match in _BRACKETS.finditer(text):
        opened += match.group(1) is not None
        closed += match.group(2) is not None
    return opened - closed
