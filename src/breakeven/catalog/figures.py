"""A figure and who vouches for it; the data files are made of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, Literal, TypeAlias, cast, get_args

Kind: TypeAlias = Literal["measured", "published", "inferred", "configured"]
"""measured: somebody ran it; published: the maker or a named source says so; inferred: worked out from others;
configured: the user said so."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its provenance.

    Attributes:
        low / high: the range the source gives; equal when it gives one number.
        kind: how it came about.
        source: who says so.
        as_of: ISO date on which it was read there; ``None`` for what the user configured.
    """

    low: Decimal
    high: Decimal
    kind: Kind
    source: str
    as_of: str | None = None

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Figure:
        """Read ``{ value | low + high, kind, source, as_of }``; numbers are written as strings, to stay exact."""
        low, high = (table["value"], table["value"]) if "value" in table else (table["low"], table["high"])
        kind = table["kind"]
        if kind not in get_args(Kind) or not table["source"]:
            raise ValueError(f"{table}: kind must be one of {get_args(Kind)} and a source must be named")
        return cls(Decimal(low), Decimal(high), cast("Kind", kind), table["source"], table["as_of"])

    @classmethod
    def configured(cls, value: Decimal, source: str = "configuration") -> Figure:
        """What the user said."""
        return cls(value, value, "configured", source)

    @property
    def value(self) -> Decimal:
        """Midpoint of the range."""
        return (self.low + self.high) / 2


def read_data(name: str) -> dict[str, Any]:
    """One of the TOML files that ship with the package."""
    return tomllib.loads(resources.files("breakeven.catalog").joinpath("data", name).read_text(encoding="utf-8"))
