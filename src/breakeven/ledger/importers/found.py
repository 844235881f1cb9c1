"""What an importer is, and what it finds in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from breakeven.ledger.records import IMPORTED, Call, UsageBucket

if TYPE_CHECKING:
    from breakeven.ledger.importers.reading import OpenFile


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be read: counted, shown, skipped, never guessed at."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was read and is no usage, on purpose."""

    why: str


Found: TypeAlias = Call | UsageBucket | Problem | LeftOut
"""Calls and buckets come unpriced, save for what the source itself says was billed."""


CACHED_FLAG = "--input-includes-cached/--input-excludes-cached"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user said of the files.

    Attributes:
        input_includes_cached: whether input counts include cached tokens; ``None`` when the user did not say.
        columns: field to column, for CSV files of no known format.
        constants: field to value, for what such a file does not have.
    """

    input_includes_cached: bool | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)

    def flags(self) -> set[str]:
        """The flags that were given."""
        given = {"--map": self.columns, "--set": self.constants, CACHED_FLAG: self.input_includes_cached is not None}
        return {flag for flag, said in given.items() if said}


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Importer:
    """Reads one source.

    Attributes:
        name: the word for it on the command line and in ``origin``.
        describes: what its files are, in a few words.
        sniff: how sure it is, 0 to 1, that a file with this path and these first bytes is its own.
        read: everything in a file, in its order. It raises nothing for what a file contains.
        flags: of the command line that say how to read its files; the others would say nothing to it.
        prepare: says in words what it will make of a file, or raises ``InputError`` when the user must say more.
        subscription: a provider whose calls a subscription may pay for, where the logs do not say whether one does.
        prices: false where records come with the money that they were recorded with.
    """

    name: str
    describes: str
    sniff: Callable[[Path, bytes], float]
    read: Callable[[OpenFile, Options], Iterator[Found]]
    flags: frozenset[str] = frozenset()
    prepare: Callable[[Path, Options], str] | None = None
    subscription: str | None = None
    prices: bool = True

    @property
    def origin(self) -> str:
        """The origin of what it reads."""
        return IMPORTED + self.name
