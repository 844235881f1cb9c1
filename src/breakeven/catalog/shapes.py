"""Shapes of models at their quantisations, for memory and rooflines."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Any

from breakeven.catalog.figures import read_data
from breakeven.economics.memory import ModelShape
from breakeven.errors import UnknownModel


@dataclass(frozen=True, slots=True)
class ListedShape:
    """A model at one quantisation.

    Attributes:
        key: ``llama-3.3-70b-q4_k_m``, as commands and scenarios name it.
        name: for people.
        shape: what is calculated with.
        source / as_of: who vouches for shape and size.
        hosted_as: ``provider/model`` rows of the price book where others host the same model.
    """

    key: str
    name: str
    shape: ModelShape
    source: str
    as_of: str
    hosted_as: tuple[str, ...] = ()


@cache
def shapes() -> tuple[ListedShape, ...]:
    """All shapes of the catalogue."""
    return tuple(
        _listed(key, row, weights) for key, row in read_data("shapes.toml").items() for weights in row["weights"]
    )


def find_shape(key: str) -> ListedShape:
    """The shape of that name.

    Raises:
        UnknownModel: naming those that look alike, else all.
    """
    known = {listed.key: listed for listed in shapes()}
    if key not in known:
        like = get_close_matches(key, known) or sorted(known)
        raise UnknownModel(f"no model shape {key!r} in the catalogue", remedy=f"Known: {', '.join(like)}.")
    return known[key]


def match_shape(parameters: int | None, quantisation: str | None) -> str | None:
    """The key of the shape with so many parameters (within 2 %) at that quantisation; ``None`` when there is none."""
    if not parameters or not quantisation:
        return None
    fitting = (
        listed
        for listed in shapes()
        if abs(listed.shape.parameters - parameters) <= 0.02 * parameters
        and listed.key.endswith(f"-{quantisation.lower()}")
    )
    return next((listed.key for listed in fitting), None)


def _listed(key: str, row: dict[str, Any], weights: dict[str, str]) -> ListedShape:
    weight_bytes = int(Decimal(weights["gb"]) * 10**9)
    shape = ModelShape(
        layers=row["layers"],
        kv_heads=row["kv_heads"],
        head_dimension=row["head_dimension"],
        attention_heads=row["attention_heads"],
        weight_bytes=weight_bytes,
        active_weight_bytes=int(weight_bytes * Decimal(row.get("active_share", "1"))),
        parameters=row["parameters"],
        active_parameters=row["active_parameters"],
        max_context_tokens=row["max_context_tokens"],
    )
    return ListedShape(
        key=f"{key}-{weights['quantisation']}",
        name=f"{row['name']} {weights['quantisation'].upper()}",
        shape=shape,
        source=f"{row['source']}; {weights['source']}",
        as_of=row["as_of"],
        hosted_as=tuple(row.get("hosted_as", ())),
    )
