"""Traces of real requests: when each came, its tokens, and what it shares with earlier ones."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from breakeven.economics.bulk import IntArray, TokenColumns
from breakeven.economics.queueing import FloatArray
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError

AZURE_COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
MOONCAKE_BLOCK_TOKENS = 512
"""Tokens behind one entry of ``hash_ids``."""
SHOWN_PROBLEMS = 5
LATEST_SECONDS = 1e11
"""Unix seconds beyond any date: three thousand years from now."""
LONGEST_PROMPT, LONGEST_OUTPUT = 10_000_000, 1_000_000
"""Tokens beyond what any model takes or gives in one request: no count, but an error of units."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in the order of arrival; arrays of one length.

    Attributes:
        name: of the file, or where else they come from.
        format: ``azure``, ``mooncake``, ``own``, or ``usage`` for what a ledger or an import counted.
        at: seconds from the first arrival.
        tokens: by class. ``cache_read`` are leading prompt tokens that an earlier request had as well; where the
            source does not say (``cache_known`` is false), none are assumed, on either side.
        seconds: how long was observed, which for a period without calls at its ends is longer than from the first
            arrival to the last; ``None`` takes the latter.
        uncounted: requests left out, since nobody counted their tokens.
        skipped: lines that could not be read, counted and not guessed.
        problems: what was wrong with the first of them.
    """

    name: str
    format: str
    at: FloatArray
    tokens: TokenColumns
    seconds: float | None = None
    uncounted: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    @property
    def input_tokens(self) -> IntArray:
        """Whole prompts."""
        return self.tokens.prompt

    @property
    def output_tokens(self) -> IntArray:
        """Generated tokens."""
        return self.tokens.output

    @property
    def reused_tokens(self) -> IntArray | None:
        """What earlier requests had as well; ``None`` where the source says it of no request."""
        return self.tokens.cache_read if self.tokens.cache_known.any() else None

    @property
    def reuse_untold(self) -> int:
        """Requests of which nobody said what part of the prompt was cached."""
        return int((~self.tokens.cache_known).sum())

    @property
    def span_seconds(self) -> float:
        """How long was observed."""
        if self.seconds is not None:
            return self.seconds
        return float(self.at[-1]) if len(self.at) else 0.0

    @property
    def peak_minute_factor(self) -> float:
        """Arrivals of the busiest minute over the mean minute, minutes counted from the first arrival."""
        if not len(self.at):
            return 1.0
        minutes, arrivals = np.unique((self.at // 60).astype(np.int64), return_counts=True)
        return float(arrivals.max() * (minutes[-1] + 1) / len(self))


class _Collected:
    def __init__(self) -> None:
        self.rows: list[tuple[float, TokenCounts]] = []
        self.problems: list[str] = []
        self.skipped = 0

    def add(self, line: int, at: float, counts: TokenCounts) -> None:
        if not abs(at) <= LATEST_SECONDS:
            self.skip(line, f"{at} is no time")
        elif counts.total and counts.input <= LONGEST_PROMPT and counts.output <= LONGEST_OUTPUT:
            self.rows.append((at, counts))
        else:
            self.skip(line, f"{counts.input} tokens in, {counts.output} out")

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
    at = np.array([row[0] for row in collected.rows])
    return Trace(
        name=path.name,
        format=kind,
        at=at - at[0],
        tokens=TokenColumns.of(counts for _, counts in collected.rows),
        skipped=collected.skipped,
        problems=tuple(collected.problems),
    )


def _read(path: Path, first: str, lines: Iterator[str]) -> tuple[str, _Collected]:
    if first.split(",") == AZURE_COLUMNS:
        return "azure", _azure(lines)
    if first.startswith("{"):
        if '"hash_ids"' in first or '"input_length"' in first:
            return "mooncake", _mooncake(lines)
        if '"uncached_input"' in first or first.startswith('{"at":'):
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
            counts = TokenCounts(int(row["ContextTokens"]), output=int(row["GeneratedTokens"]), cache_known=False)
            collected.add(number, at, counts)
        except (ValueError, TypeError, InputError) as error:
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
        try:
            counts = TokenCounts(line.input_length - reused, cache_read=reused, output=line.output_length)
        except InputError as error:
            collected.skip(number, str(error))
        else:
            collected.add(number, line.timestamp / 1000, counts)
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
        try:
            counts = TokenCounts(
                line.uncached_input, line.cache_read, line.cache_write_5m, line.cache_write_1h, line.output
            )
        except InputError as error:
            collected.skip(number, str(error))
        else:
            collected.add(number, line.at, counts)
    return collected
