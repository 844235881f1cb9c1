"""How much is read and looked up in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

LOOKUP_PAGE = 500
READ_PAGE = 1000


def pages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names in the portions that are looked up at once."""
    return (names[start : start + LOOKUP_PAGE] for start in range(0, len(names), LOOKUP_PAGE))
