"""What can be read of a gateway at any moment, for its metrics."""

from __future__ import annotations

from collections.abc import Iterator

from breakeven.gateway.box_view import broken_prefixes
from breakeven.gateway.desk import Desk

_BREAKER = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
Gauge = tuple[str, str, dict[str, str], float]


def gauges(desk: Desk) -> Iterator[Gauge]:
    """Name, help, labels and value of each."""
    yield "breakeven_ready", "Whether calls can be served", {}, float(desk.readiness().ready)
    yield "breakeven_box_calls", "Calls in the local box now", {}, float(desk.occupancy.running)
    yield (
        "breakeven_box_busy_seconds",
        "Time with a call in the box",
        {},
        desk.occupancy.busy_seconds,
    )
    for (provider, model), drift in desk.drift.drifts.items():
        labels = {"provider": provider, "model": model, "cause": drift.cause.value}
        yield "breakeven_box_slower", "Times longer than usual that calls take", labels, drift.times or 1.0
    for provider, calls in desk.drift.limits.items():
        yield (
            "breakeven_box_at_once",
            "Calls served at once while that is limited",
            {"provider": provider},
            float(calls),
        )
    for provider, agent in broken_prefixes(desk.table):
        labels = {"provider": provider, "agent": agent}
        yield "breakeven_prefix_broken", "Agents whose prompts change early on from run to run", labels, 1.0
    for (provider, model), breaker in desk.runtime.breakers.snapshot().items():
        labels = {"provider": provider, "model": model}
        yield "breakeven_breaker_open", "0 closed, 0.5 half open, 1 open", labels, _BREAKER[breaker.state]
    for standing in desk.accounts.standings():
        balance = standing.balance
        if balance is not None:
            labels = {"budget": standing.budget.name}
            yield "breakeven_budget_spent_usd", "Spent in this period", labels, float(balance.spent)
            yield "breakeven_budget_reserved_usd", "Held by calls in flight", labels, float(balance.reserved)
    status = desk.ledger.status()
    pending = float(status.journal_bytes_pending)
    yield "breakeven_journal_pending_bytes", "Journaled and not yet in the database", {}, pending
