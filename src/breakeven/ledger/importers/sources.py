"""All sources, and which of them a file is from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from breakeven.errors import InputError
from breakeven.ledger.importers import (
    anthropic_usage,
    claude_code,
    codex,
    litellm,
    ollama,
    openai_usage,
    openrouter,
    otel,
    own,
    table,
)
from breakeven.ledger.importers.found import Importer
from breakeven.ledger.importers.reading import HEAD_BYTES

SOURCES: Mapping[str, Importer] = {
    importer.name: importer
    for importer in (
        claude_code.IMPORTER,
        codex.IMPORTER,
        openai_usage.USAGE_IMPORTER,
        openai_usage.COST_IMPORTER,
        anthropic_usage.USAGE_IMPORTER,
        anthropic_usage.COST_IMPORTER,
        openrouter.IMPORTER,
        litellm.IMPORTER,
        ollama.IMPORTER,
        otel.IMPORTER,
        own.IMPORTER,
        table.IMPORTER,
    )
}
SUFFIXES = {".jsonl", ".ndjson", ".json", ".csv", ".log"}
"""Files that are looked at in a folder; a file named by itself may be called what it likes."""
SURE = 0.5
"""How sure a source must be of a file that it came upon in a folder."""


@dataclass(frozen=True, slots=True)
class Located:
    """A file to import and what reads it."""

    path: Path
    importer: Importer


@dataclass(frozen=True, slots=True)
class Selection:
    """What to import, and how many files in folders are of no known source."""

    files: tuple[Located, ...]
    passed_over: int


def select(paths: Iterable[Path], name: str | None = None) -> Selection:
    """The files at these paths, folders searched through, each once, in order of their paths.

    Args:
        paths: files and folders.
        name: the source of them all; by default each file's own is found out.

    Raises:
        InputError: a path does not exist, a file named by itself is of no known source, or there is no such source.
    """
    if name is not None and name not in SOURCES:
        raise InputError(f"--format {name!r}: no such source", remedy=f"Sources: {', '.join(SOURCES)}.")
    found: dict[Path, Located] = {}
    passed_over = 0
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
        for file in _files(path):
            importer = SOURCES[name] if name is not None else detect(file, least=0.0 if file == path else SURE)
            if importer is not None:
                found.setdefault(file.resolve(), Located(file, importer))
            elif file == path:
                raise InputError(
                    f"{path} is of no known source",
                    remedy=f"Name it with --format: {', '.join(SOURCES)}.",
                )
            else:
                passed_over += 1
    return Selection(tuple(found[path] for path in sorted(found)), passed_over)


def detect(path: Path, least: float = SURE) -> Importer | None:
    """The source that is surest of a file, surer than ``least``; ``None`` when none is.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    best = max(SOURCES.values(), key=lambda importer: importer.sniff(path, head))
    return best if best.sniff(path, head) > least else None


def on_this_machine(environment: Mapping[str, str] = os.environ) -> list[tuple[Importer, Path]]:
    """Folders of logs that lie on this machine, with their sources."""
    home = Path.home()
    claude = environment.get("CLAUDE_CONFIG_DIR")
    codex_home = Path(environment.get("CODEX_HOME") or home / ".codex")
    places = [(claude_code.IMPORTER, Path(folder) / "projects") for folder in (claude.split(",") if claude else ())]
    places += [(claude_code.IMPORTER, home / folder / "projects") for folder in (".claude", ".config/claude")]
    places += [(codex.IMPORTER, codex_home / folder) for folder in ("sessions", "archived_sessions")]
    return [(importer, place) for importer, place in dict.fromkeys(places) if place.is_dir()]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if file.suffix.lower() in SUFFIXES and file.is_file() and file.stat().st_size:
                yield file
