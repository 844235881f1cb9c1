"""Traces of real requests: when each came, its tokens, and what it shares with earlier ones."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from breakeven.errors import InputError

AZURE_COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
MOONCAKE_BLOCK_TOKENS = 512
"""Tokens behind one entry of ``hash_ids``."""
SHOWN_PROBLEMS = 5


class MooncakeLine(msgspec.Struct):
    """A request of a Mooncake trace: milliseconds, tokens, and hashes of the prompt's blocks of 512 tokens."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


class OwnLine(msgspec.Struct):
    """A request of our own export: Unix seconds and tokens by class, cached ones apart from the uncached."""

    at: float
    uncached_input: int
    output: int
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order of arrival; arrays of one length.

    Attributes:
        name: of the file.
        format: ``azure``, ``mooncake`` or ``own``.
        at: seconds from the first arrival.
        input_tokens: whole prompt.
        output_tokens: generated tokens.
        reused_tokens: leading prompt tokens that an earlier request had as well, had nothing been evicted; ``None``
            where the format does not say.
        skipped: lines that could not be read, counted and not guessed.
        problems: what was wrong with the first of them.
    """

    name: str
    format: str
    at: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    reused_tokens: NDArray[np.int64] | None
    skipped: int = 0
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    @property
    def span_seconds(self) -> float:
        """From the first arrival to the last."""
        return float(self.at[-1])

    @property
    def peak_minute_factor(self) -> float:
        """Arrivals of the busiest minute over the mean minute, minutes counted from the first arrival."""
        minutes = np.bincount((self.at // 60).astype(np.int64))
        return float(minutes.max() / minutes.mean())


class _Collected:
    def __init__(self) -> None:
        self.rows: list[tuple[float, int, int, int]] = []
        self.problems: list[str] = []
        self.skipped = 0

    def add(self, line: int, at: float, prompt: int, output: int, reused: int = 0) -> None:
        if prompt < 0 or output < 0 or not prompt + output:
            self.skip(line, f"{prompt} tokens in, {output} out")
        else:
            self.rows.append((at, prompt, output, reused))

    def skip(self, line: int, why: str) -> None:
        self.skipped += 1
        if len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(f"line {line}: {why}")


def read_trace(path: Path) -> Trace:
    """Read a trace; its format is told by its first line.

    Raises:
        InputError: when the file cannot be read, is of no known format, or has no usable line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            first = lines.readline().strip()
            lines.seek(0)
            kind, collected = _read(path, first, lines)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error.reason}") from error
    if not collected.rows:
        raise InputError(f"{path} has no request in it", remedy="; ".join(collected.problems))
    collected.rows.sort(key=lambda row: row[0])
    start = collected.rows[0][0]
    at, prompt, output, reused = (np.array(column) for column in zip(*collected.rows, strict=True))
    return Trace(
        name=path.name,
        format=kind,
        at=at.astype(np.float64) - start,
        input_tokens=prompt.astype(np.int64),
        output_tokens=output.astype(np.int64),
        reused_tokens=None if kind == "azure" else reused.astype(np.int64),
        skipped=collected.skipped,
        problems=tuple(collected.problems),
    )


def _read(path: Path, first: str, lines: Iterator[str]) -> tuple[str, _Collected]:
    if first.split(",") == AZURE_COLUMNS:
        return "azure", _azure(lines)
    if first.startswith("{"):
        if '"hash_ids"' in first or '"input_length"' in first:
            return "mooncake", _mooncake(lines)
        if '"uncached_input"' in first:
            return "own", _own(lines)
    raise InputError(
        f"{path} is no known trace",
        remedy=f"Known: CSV with {','.join(AZURE_COLUMNS)}; JSON lines with timestamp, input_length, output_length;"
        " JSON lines with at, uncached_input, output.",
    )


def _azure(lines: Iterator[str]) -> _Collected:
    collected = _Collected()
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            # The seventh decimal of the timestamps is finer than datetime takes.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            collected.add(number, at, int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        except (ValueError, TypeError) as error:
            collected.skip(number, str(error))
    return collected


def _mooncake(lines: Iterator[str]) -> _Collected:
    collected, decoder = _Collected(), msgspec.json.Decoder(MooncakeLine)
    seen: set[int] = set()
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
        except msgspec.DecodeError as error:
            collected.skip(number, str(error))
            continue
        blocks = 0
        for block in line.hash_ids:
            if block not in seen:
                break
            blocks += 1
        seen.update(line.hash_ids)
        reused = min(blocks * MOONCAKE_BLOCK_TOKENS, max(0, line.input_length - 1))
        collected.add(number, line.timestamp / 1000, line.input_length, line.output_length, reused)
    return collected


def _own(lines: Iterator[str]) -> _Collected:
    collected, decoder = _Collected(), msgspec.json.Decoder(OwnLine)
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
        except msgspec.DecodeError as error:
            collected.skip(number, str(error))
            continue
        if min(line.uncached_input, line.cache_read, line.cache_write_5m, line.cache_write_1h) < 0:
            collected.skip(number, "a negative count of tokens")
            continue
        prompt = line.uncached_input + line.cache_read + line.cache_write_5m + line.cache_write_1h
        collected.add(number, line.at, prompt, line.output, line.cache_read)
    return collected
