"""``/admin``: what the gateway knows of itself, as JSON; reading it takes a key where calls take one."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.box.pool_provider import PoolProvider
from breakeven.gateway.asgi import Receive, Scope, Send, read_body, respond_json
from breakeven.gateway.box_view import box_view, drift_view
from breakeven.gateway.call import facts_of
from breakeven.gateway.desk import Desk
from breakeven.gateway.keys import presented_secret
from breakeven.gateway.labels import read_labels
from breakeven.wire.body import parse_object, read_model
from breakeven.wire.dialects import parse_request
from breakeven.wire.request import Dialect

EXPLAIN = "/admin/explain"


async def overview(desk: Desk, scope: Scope, _receive: Receive, send: Send) -> None:
    """Providers, breakers, budgets, the box and the books at a glance."""
    _authorise(desk, scope)
    readiness = desk.readiness()
    await respond_json(
        send,
        {
            "ready": readiness.ready,
            "checks": readiness.checks,
            "models": [
                {
                    "name": route.name,
                    "provider": route.provider.name,
                    "model": route.model,
                    "locality": route.provider.locality,
                    "availability": route.provider.availability(),
                    "breaker": desk.runtime.breakers.state((route.provider.name, route.model)),
                    "context": route.context,
                    "reason": route.reason,
                    "retains": route.retains,
                    "trains": route.trains,
                }
                for route in desk.table
            ],
            "budgets": [_budget(standing) for standing in desk.accounts.standings()],
            "box": _box(desk),
            "slower": drift_view(desk.drift),
            "totals": desk.metrics.totals(),
            "pools": _pools(desk),
            "ledger": msgspec.to_builtins(desk.ledger.status()),
        },
    )


async def decisions(desk: Desk, scope: Scope, _receive: Receive, send: Send) -> None:
    """The latest calls: where each went, why, and what it cost."""
    _authorise(desk, scope)
    await respond_json(send, {"decisions": desk.decisions.latest()})


async def explain(desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
    """The plan for a request, which is not sent to anybody."""
    headers = dict(scope["headers"])
    caller = desk.accounts.identify(presented_secret(headers))
    body = await read_body(scope, receive, desk.max_body_bytes)
    document = parse_object(body)
    labels = read_labels(headers, document, caller)
    if "messages" in document:
        dialect: Dialect = "anthropic" if b"anthropic-version" in headers or "system" in document else "openai"
        request = parse_request(dialect, body)
        size, characters = request.prompt_bytes(), request.text_characters()
        facts = facts_of(desk, labels, request.model, size, characters, request=request)
    else:
        facts = facts_of(desk, labels, read_model(document), len(body), len(body))
    await respond_json(send, desk.planner.plan(facts, labels).document())


PAGES = {"/admin": overview, "/admin/decisions": decisions}


def _authorise(desk: Desk, scope: Scope) -> None:
    desk.accounts.identify(presented_secret(dict(scope["headers"])))


def _box(desk: Desk) -> dict[str, Any]:
    snapshot = desk.box()
    view = box_view(snapshot) if snapshot is not None else {}
    return {"running": desk.occupancy.running, "busy_seconds": desk.occupancy.busy_seconds, **view}


def _pools(desk: Desk) -> dict[str, Any]:
    """The view of each pool of servers, by its name."""
    pools = {route.provider.name: route.provider for route in desk.table if isinstance(route.provider, PoolProvider)}
    return {name: box_view(pool.dispatcher.snapshot()) for name, pool in pools.items()}


def _budget(standing: Any) -> dict[str, Any]:
    balance = standing.balance
    return {
        "name": standing.budget.name,
        "usd": format(standing.budget.usd, "f"),
        "window": standing.window,
        "ends_at": standing.ends_at,
        "spent_usd": None if balance is None else format(balance.spent, "f"),
        "reserved_usd": None if balance is None else format(balance.reserved, "f"),
    }
