"""Any CSV file with a row for each call: columns told by their headings or by the user, and the choice shown.

Whether the input count includes cached tokens is never assumed. Without a column (or a constant) for cached tokens
their part is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import Ordinals, count, digest, dollars, moment, native_id
from breakeven.ledger.importers.found import CACHED_FLAG, Found, Importer, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call, Durations

NAME = "csv"
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "at": ("timestamp", "time", "datetime", "created_at", "start_time", "starttime", "request_time", "ts"),
    "model": ("model", "model_name", "model_id"),
    "provider": ("provider", "provider_name", "vendor"),
    "input": ("input_tokens", "prompt_tokens", "tokens_in", "tokens_prompt", "contexttokens", "context_tokens"),
    "output": (
        "output_tokens",
        "completion_tokens",
        "tokens_out",
        "tokens_completion",
        "generatedtokens",
        "generated_tokens",
    ),
    "cache_read": (
        "cache_read_tokens",
        "cache_read_input_tokens",
        "cached_tokens",
        "cached_input_tokens",
        "input_cached_tokens",
        "tokens_cached",
    ),
    "cache_write": ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
    "cache_write_1h": ("cache_write_1h_tokens",),
    "reasoning": ("reasoning_tokens", "reasoning_output_tokens", "tokens_reasoning"),
    "usd": ("usd", "cost_usd", "price_usd", "spend_usd"),
    "seconds": ("seconds", "duration_seconds", "latency_seconds"),
    "id": ("id", "request_id", "call_id"),
    "key": ("key", "api_key_name"),
    "agent": ("agent", "app_name"),
    "task": ("task",),
}
"""Field → headings that mean it, compared in lower case with blanks and hyphens as underscores."""

REQUIRED = ("at", "model", "input", "output")
CONSTANTS = ("model", "provider", "cache_read", "cache_write", "cache_write_1h", "reasoning", "key", "agent", "task")
CONVENTION = (
    "say whether its input tokens include cached ones: --input-includes-cached (as OpenAI and OpenTelemetry count)"
    " or --input-excludes-cached (as Anthropic counts)"
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where the fields of a file's calls stand."""

    headings: tuple[str, ...]
    columns: Mapping[str, int]
    constants: Mapping[str, str]
    input_includes_cached: bool

    def describe(self) -> str:
        """The choice in words."""
        told = [f"{field}={self.headings[place]}" for field, place in self.columns.items()]
        told += [f"{field} always {value!r}" for field, value in self.constants.items()]
        unused = [name for place, name in enumerate(self.headings) if place not in self.columns.values()]
        convention = "include" if self.input_includes_cached else "exclude"
        rest = f"; not used: {', '.join(unused)}" if unused else ""
        return f"{', '.join(told)}; input tokens {convention} cached ones; times without a zone are UTC{rest}"


def mapped(path: Path, headings: Sequence[str], options: Options) -> Mapped:
    """Find the columns, the user's words before the headings'.

    Raises:
        InputError: a field is missing or could be several columns, a column or a field does not exist, or the
            convention of the input count was not said; the remedy names the flags to give.
    """
    for name in (*options.columns, *options.constants):
        if name not in HEADINGS:
            raise InputError(f"--map {name}: no such field", remedy=f"Fields: {', '.join(HEADINGS)}.")
    for name in options.constants:
        if name not in CONSTANTS:
            raise InputError(
                f"--set {name}: differs from call to call", remedy=f"Constant can be: {', '.join(CONSTANTS)}."
            )
    columns: dict[str, int] = {}
    for name, known in HEADINGS.items():
        if name in options.columns:
            columns[name] = _named(path, headings, name, options.columns[name])
        elif name not in options.constants:
            places = [place for place, heading in enumerate(headings) if _plain(heading) in known]
            if len(places) > 1:
                choices = " or ".join(f"--map {name}={headings[place]}" for place in places)
                raise InputError(f"{path}: {name} could be several columns", remedy=f"Say which: {choices}.")
            if places:
                columns[name] = places[0]
    missing = [name for name in REQUIRED if name not in columns and name not in options.constants]
    if missing:
        flags = " ".join(f"--set {name}=VALUE" if name in CONSTANTS else f"--map {name}=COLUMN" for name in missing)
        raise InputError(
            f"{path}: no column for {', '.join(missing)} among {', '.join(headings) or 'no headings'}",
            remedy=f"Add {flags}.",
        )
    if options.input_includes_cached is None:
        raise InputError(f"{path}: {CONVENTION.split(':', 1)[0]}", remedy=CONVENTION.split(":", 1)[1].strip() + ".")
    return Mapped(tuple(headings), columns, options.constants, options.input_includes_cached)


def sniff(path: Path, head: bytes) -> float:
    """Unsure of itself: any other source goes before."""
    return 0.2 if path.suffix.lower() in {".csv", ".tsv"} and b"," in head.split(b"\n", 1)[0] else 0.0


def prepare(path: Path, options: Options) -> str:
    """The columns of a file in words; errors as ``mapped``."""
    with path.open("rb") as stream:
        return mapped(path, _headings(OpenFile(path, stream)), options).describe()


def read(file: OpenFile, options: Options) -> Iterator[Found]:
    """A call for each row."""
    rows = file.rows()
    heading = next(rows, None)
    if heading is None or isinstance(heading, Problem):
        yield heading or Problem(1, "no headings")
        return
    where = mapped(file.path, [name.strip() for name in heading[1]], options)
    ordinals = Ordinals()
    for found in rows:
        if isinstance(found, Problem):
            yield found
            continue
        number, values = found
        try:
            yield _call(where, values, ordinals)
        except (ValueError, InputError) as error:
            yield Problem(number, str(error))


def _headings(file: OpenFile) -> list[str]:
    first = next(file.rows(), None)
    return [] if first is None or isinstance(first, Problem) else [name.strip() for name in first[1]]


def _call(where: Mapped, values: Sequence[str], ordinals: Ordinals) -> Call:
    if len(values) != len(where.headings):
        raise ValueError(f"{len(values)} fields where the heading has {len(where.headings)}")

    def text(field: str) -> str:
        place = where.columns.get(field)
        return where.constants.get(field, "") if place is None else values[place].strip()

    def optional(field: str, read: Callable[[str], int]) -> int | None:
        found = text(field)
        return read(found) if found else None

    def required(field: str) -> str:
        found = text(field)
        if not found:
            raise ValueError(f"no {field}")
        return found

    cache_read = optional("cache_read", count)
    usd, seconds = text("usd"), text("seconds")
    at = moment(required("at"))
    return imported_call(
        NAME,
        _identity(text("id"), values, ordinals),
        at=at,
        endpoint="unknown",
        provider=text("provider") or "unknown",
        model=required("model"),
        tokens=TokenCounts.reported(
            input_tokens=count(required("input")),
            output_tokens=count(required("output")),
            input_includes_cached=where.input_includes_cached,
            cache_read=cache_read or 0,
            cache_write_5m=optional("cache_write", count) or 0,
            cache_write_1h=optional("cache_write_1h", count) or 0,
            reasoning=optional("reasoning", count),
            cache_known=cache_read is not None,
        ),
        durations=Durations(total=float(dollars(seconds)) if seconds else None),
        stated_usd=dollars(usd) if usd else None,
        key=text("key") or None,
        agent=text("agent") or None,
        task=text("task") or None,
    )


def _identity(native: str, values: Sequence[str], ordinals: Ordinals) -> str:
    if native:
        return native_id(NAME, native)
    name = digest(*values)
    return f"{NAME}:{name}:{ordinals.of(name)}"


def _named(path: Path, headings: Sequence[str], field: str, column: str) -> int:
    if column not in headings:
        raise InputError(f"--map {field}={column}: {path} has no such column", remedy=f"It has {', '.join(headings)}.")
    return headings.index(column)


def _plain(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip().lower())


IMPORTER = Importer(
    NAME,
    "any CSV file with a row for each call",
    sniff,
    read,
    flags=frozenset({"--map", "--set", CACHED_FLAG}),
    prepare=prepare,
)
