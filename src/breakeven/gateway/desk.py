"""What every endpoint needs at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from breakeven.accounts.accounts import Accounts
from breakeven.accounts.responses import ResponseCache
from breakeven.box.dispatcher import BoxSnapshot
from breakeven.box.drift_watch import DriftWatch
from breakeven.box.occupancy import Occupancy
from breakeven.gateway.decisions import Decisions
from breakeven.gateway.metering import Metering
from breakeven.gateway.metrics import Metrics
from breakeven.gateway.planner import Planner
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Call
from breakeven.routing.forecast import RecentForecast
from breakeven.routing.runtime import Runtime
from breakeven.routing.table import RoutingTable

NewItem: TypeAlias = tuple[str | None, int, Any]
"""An item for an agent: its key, its priority, its payload."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether calls can be served now, and if not, why."""

    ready: bool
    checks: dict[str, str]


class Inbox(Protocol):
    """The agents' queue, as far as it concerns the gateway."""

    async def put(self, agent: str, items: Sequence[NewItem]) -> int:
        """Put items in, each once under its key. How many were new.

        Raises:
            RequestError: nobody has run this agent, or it takes no items.
            QueueUnavailable: the agents' database does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a running gateway under one configuration; a reload lays a new desk from mostly the same parts.

    Attributes:
        table: which provider serves which model name.
        planner: who is asked for a call.
        runtime: which targets are left alone and how fast providers may be asked; it outlives a reload.
        accounts: who may call and what they may spend.
        responses: answers that tasks want kept for who asks the same again.
        ledger: where calls are booked.
        metering: what they cost.
        occupancy: how busy the local box is.
        box: its queue and slots as they are now; ``None`` where they are not ours to manage.
        forecast: how long calls take.
        drift: which of one's own servers are slower than usual.
        metrics / decisions: what is shown of calls.
        observers: told of each call as it enters the books.
        inbox: takes items for agents; ``None`` where there is no database of theirs.
        readiness: asked by ``/ready``.
        allowed_origins: web pages that may call.
        max_body_bytes: longest body accepted.
        heartbeat_seconds: pause between heartbeats in a stream that has no words yet.
    """

    table: RoutingTable
    planner: Planner
    runtime: Runtime
    accounts: Accounts
    responses: ResponseCache
    ledger: Ledger
    metering: Metering
    occupancy: Occupancy
    box: Callable[[], BoxSnapshot | None]
    forecast: RecentForecast
    drift: DriftWatch
    metrics: Metrics
    decisions: Decisions
    observers: tuple[Callable[[Call], None], ...]
    inbox: Inbox | None
    readiness: Callable[[], Readiness]
    allowed_origins: tuple[str, ...]
    max_body_bytes: int
    heartbeat_seconds: float
