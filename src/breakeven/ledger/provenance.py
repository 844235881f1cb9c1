"""Where the figures of a statement came from, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from breakeven.economics.local import BoxCost
from breakeven.ledger.rollup import ProvenanceCount

COUNTERS = {
    "engine": "counted by the local engine",
    "provider": "reported by the provider",
    "estimate": "estimated by breakeven, for answers that broke off",
    "nobody": "counted by nobody",
}


class Note(msgspec.Struct, frozen=True):
    """Where one figure came from, and for how many attempts."""

    figure: str
    text: str
    attempts: int | None = None


def notes(provenance: Iterable[ProvenanceCount], box: BoxCost | None) -> list[Note]:
    """A note for each source of each figure, the box's cost among them."""
    return [*figure_notes(provenance), Note("local", _box_text(box))]


def figure_notes(provenance: Iterable[ProvenanceCount]) -> list[Note]:
    """A note for each source of each figure."""
    return [Note(row.figure, _text(row), row.attempts) for row in provenance]


def _text(row: ProvenanceCount) -> str:
    match row.figure:
        case "tokens":
            return COUNTERS.get(row.source, row.source)
        case "watt_hours":
            if row.source == "modelled":
                return "modelled: (load − idle watts) × busy time; no meter"
            return f"measured by {row.source}"
        case _ if not row.snapshot:
            return f"{row.subject}: {row.source}"
        case _:
            dated = f"effective {row.effective}" if row.effective else "undated"
            return f"{row.subject} at {row.source}, {dated}, row {row.snapshot}"


def _box_text(box: BoxCost | None) -> str:
    if box is None:
        return "no machine is configured: set machine in [box], or purchase_usd, idle_watts and load_watts"
    return (
        f"machine at ${box.purchase_usd} over {box.term_months} months, resale ${box.resale_usd}; "
        f"{box.idle_watts} W idle, {box.load_watts} W at work, ${box.usd_per_kwh} per kWh; "
        "fixed cost prorated with 730 h a month"
    )
