"""What every endpoint needs at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from breakeven.box.occupancy import Occupancy
from breakeven.gateway.keys import Keys
from breakeven.gateway.metering import Metering
from breakeven.ledger.ledger import Ledger
from breakeven.routing.table import RoutingTable


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether calls can be served now, and if not, why."""

    ready: bool
    checks: dict[str, str]


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a running gateway.

    Attributes:
        table: which provider serves which model name.
        ledger: where calls are booked.
        metering: what they cost.
        occupancy: how busy the local box is.
        keys: who may call.
        readiness: asked by ``/ready``.
        max_body_bytes: longest body accepted.
    """

    table: RoutingTable
    ledger: Ledger
    metering: Metering
    occupancy: Occupancy
    keys: Keys
    readiness: Callable[[], Readiness]
    max_body_bytes: int
