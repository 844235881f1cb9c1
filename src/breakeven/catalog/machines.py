"""Machines and what they cost: the catalogue, and the box that the configuration describes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, TypeAlias, cast

from breakeven.catalog.figures import Figure, read_data
from breakeven.catalog.tariffs import default_tariff
from breakeven.config.settings import BoxSettings
from breakeven.economics.horizon import monthly_rate
from breakeven.economics.local import BoxCost
from breakeven.errors import UnknownMachine

Family: TypeAlias = Literal["apple", "unified", "discrete", "hbm"]
"""Memory of the machine: Apple's unified, others' unified (LPDDR), cards with GDDR, cards with HBM."""

WIRED_LIMIT = Decimal("0.75")
"""Share of its memory that macOS lets the GPU wire by default."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of one request served alone, for one model shape; ``None`` where nobody measured."""

    shape: str
    prefill: Figure | None
    decode: Figure | None


@dataclass(frozen=True, slots=True)
class Machine:
    """A row of the catalogue; ``None`` is unknown.

    Attributes:
        key: its name in configuration and commands.
        memory_gib: memory in which weights and KV cache can lie, of all cards together.
        bandwidth_gb_s: decimal GB/s of one card or of the unified memory.
        cards: cards the layers are split over.
        price_usd: of the whole machine.
        idle_watts / load_watts: of the whole machine at the socket.
        speeds: what is known of each model shape.
    """

    key: str
    name: str
    family: Family
    memory_gib: Figure
    bandwidth_gb_s: Figure
    cards: int = 1
    price_usd: Figure | None = None
    idle_watts: Figure | None = None
    load_watts: Figure | None = None
    speeds: tuple[Speed, ...] = ()

    @property
    def usable_memory_gib(self) -> Decimal:
        """What the model may occupy: 75 % on macOS, all of it elsewhere."""
        return self.memory_gib.value * (WIRED_LIMIT if self.family == "apple" else 1)

    def speed(self, shape: str) -> Speed:
        """What is known of a model shape on this machine."""
        return next((speed for speed in self.speeds if speed.shape == shape), Speed(shape, None, None))


@dataclass(frozen=True, slots=True)
class BoxFigures:
    """What the configured box costs and draws, each figure with its origin; ``None`` is unknown.

    Attributes:
        machine: the catalogue's row, if the configuration names one.
    """

    machine: Machine | None
    purchase_usd: Figure | None
    idle_watts: Figure | None
    load_watts: Figure | None
    usd_per_kwh: Figure

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of ``[box]`` that would have to be given before a cost can be computed."""
        known = {"purchase_usd": self.purchase_usd, "idle_watts": self.idle_watts, "load_watts": self.load_watts}
        return tuple(key for key, figure in known.items() if figure is None)


@cache
def machines() -> tuple[Machine, ...]:
    """All machines of the catalogue, in its order."""
    return tuple(_machine(key, row) for key, row in read_data("machines.toml").items())


def find_machine(key: str) -> Machine:
    """The machine of that name.

    Raises:
        UnknownMachine: naming those that look alike, else all.
    """
    known = {machine.key: machine for machine in machines()}
    if key not in known:
        like = get_close_matches(key, known) or sorted(known)
        raise UnknownMachine(f"no machine {key!r} in the catalogue", remedy=f"Known: {', '.join(like)}.")
    return known[key]


def box_figures(settings: BoxSettings) -> BoxFigures:
    """Merge what ``[box]`` says over the catalogue's row; the origin of each figure stays with it.

    Raises:
        UnknownMachine: when ``box.machine`` is not in the catalogue.
    """
    machine = None if settings.machine is None else find_machine(settings.machine)

    listed = (None, None, None) if machine is None else (machine.price_usd, machine.idle_watts, machine.load_watts)
    given = (settings.purchase_usd, settings.idle_watts, settings.load_watts)
    price, idle, load = (
        known if value is None else Figure.configured(value) for value, known in zip(given, listed, strict=True)
    )
    tariff = settings.usd_per_kwh
    return BoxFigures(
        machine=machine,
        purchase_usd=price,
        idle_watts=idle,
        load_watts=load,
        usd_per_kwh=default_tariff().usd_per_kwh if tariff is None else Figure.configured(tariff),
    )


def box_cost(settings: BoxSettings) -> BoxCost | None:
    """What the configured box costs; ``None`` unless its price and both draws are known.

    Raises:
        UnknownMachine: when ``box.machine`` is not in the catalogue.
    """
    figures = box_figures(settings)
    if figures.purchase_usd is None or figures.idle_watts is None or figures.load_watts is None:
        return None
    return BoxCost(
        purchase_usd=figures.purchase_usd.value,
        term_months=settings.term_months,
        idle_watts=figures.idle_watts.value,
        load_watts=figures.load_watts.value,
        usd_per_kwh=figures.usd_per_kwh.value,
        resale_usd=settings.resale_usd,
        capital_rate_monthly=monthly_rate(settings.capital_rate_yearly),
        pue=settings.pue,
        care_usd_monthly=settings.care_hours_monthly * settings.wage_usd_hourly + settings.upkeep_usd_monthly,
    )


def _machine(key: str, row: dict[str, Any]) -> Machine:
    def figure(table: dict[str, Any], name: str) -> Figure | None:
        return Figure.parse(table[name]) if name in table else None

    speeds = tuple(Speed(s["shape"], figure(s, "prefill"), figure(s, "decode")) for s in row.get("speeds", ()))
    return Machine(
        key=key,
        name=row["name"],
        family=cast("Family", row["family"]),
        memory_gib=Figure.parse(row["memory_gib"]),
        bandwidth_gb_s=Figure.parse(row["bandwidth_gb_s"]),
        cards=row.get("cards", 1),
        price_usd=figure(row, "price_usd"),
        idle_watts=figure(row, "idle_watts"),
        load_watts=figure(row, "load_watts"),
        speeds=speeds,
    )
