"""What a result rests on: every figure that went in, with its source or the plain word "assumed"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from breakeven.errors import InputError

ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Assumption:
    """One figure that a result rests on.

    Attributes:
        name: what it is, in the words of the result.
        value: the figure as used; ``None`` when it is unknown.
        unit: for instance ``"tok/s"``, ``"$/kWh"``; empty for a plain number.
        source: who says so; ``"assumed"`` when nobody does.
        dated: ISO date of the source, ``None`` when it has none.
    """

    name: str
    value: Decimal | float | str | None
    unit: str = ""
    source: str = ASSUMED
    dated: str | None = None

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise InputError(f"{self.name}: a figure without a source", remedy=f'Name one, or say "{ASSUMED}".')

    @property
    def is_assumed(self) -> bool:
        """Whether nobody vouches for the figure."""
        return self.source == ASSUMED


def assumed(assumptions: Iterable[Assumption]) -> tuple[Assumption, ...]:
    """Those that nobody vouches for: the ones to check first.

    >>> [a.name for a in assumed([Assumption("term", 36, "months"), Assumption("idle", 6, "W", "Apple", "2025-03-12")])]
    ['term']
    """
    return tuple(assumption for assumption in assumptions if assumption.is_assumed)
