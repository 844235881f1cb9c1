"""What electricity costs where: a dated table with its sources."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from breakeven.catalog.figures import Figure, read_data
from breakeven.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class Tariff:
    """Household electricity at a place.

    Attributes:
        code: ``US-CA``, ``DE``, ``default``.
        place: its name.
        usd_per_kwh: the price with its source; euro prices are converted, and the source says at what rate.
    """

    code: str
    place: str
    usd_per_kwh: Figure


@cache
def tariffs() -> tuple[Tariff, ...]:
    """The whole table, the default first."""
    data = read_data("tariffs.toml")
    default = data["default"]
    rate = Figure.parse(data["exchange"]["usd_per_eur"])
    us, eu = data["us"], data["eu"]

    def published(value: Decimal, source: str, as_of: str) -> Figure:
        return Figure(value, value, "published", source, as_of)

    converted = f"{eu['source']}, at {rate.value} USD/EUR ({rate.source}, {rate.as_of})"
    return (
        Tariff("default", "United States", Figure.parse({**default, "value": default["usd_per_kwh"]})),
        *(
            Tariff(code, row["place"], published(Decimal(row["value"]), us["source"], us["as_of"]))
            for code, row in us["usd_per_kwh"].items()
        ),
        *(
            Tariff(code, row["place"], published(Decimal(row["value"]) * rate.value, converted, eu["as_of"]))
            for code, row in eu["eur_per_kwh"].items()
        ),
    )


def default_tariff() -> Tariff:
    """The tariff used where nobody says otherwise."""
    return tariffs()[0]


def find_tariff(code: str) -> Tariff:
    """The tariff of a place, by code, in any case.

    Raises:
        ScenarioError: when the table does not have it.
    """
    for tariff in tariffs():
        if tariff.code.casefold() == code.casefold():
            return tariff
    raise ScenarioError(
        "tariff", code, "a place of the table, for instance US-CA or DE", remedy="Or give usd_per_kwh from your bill."
    )
