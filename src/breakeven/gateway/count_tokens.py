"""``POST /v1/messages/count_tokens``: asked of whoever would serve the call, estimated where nobody can count."""

from __future__ import annotations

import msgspec

from breakeven.errors import BreakevenError, UpstreamError
from breakeven.gateway.asgi import Receive, Scope, Send, read_body, respond_json
from breakeven.gateway.call import Door, Visit, facts_of
from breakeven.gateway.desk import Desk
from breakeven.gateway.keys import presented_secret
from breakeven.gateway.labels import read_labels
from breakeven.gateway.metering import CHARACTERS_PER_TOKEN
from breakeven.providers.base import Provider, ProviderRequest
from breakeven.routing.egress import clearance
from breakeven.wire.body import Json
from breakeven.wire.dialects import count_document, outgoing_count, parse_count_request, read_error

DOOR = Door("/v1/messages/count_tokens", "anthropic")
UNNUMBERED = "count_tokens"
"""Stands for the id of a call in its clearance: counting is no call, costs nothing and is not booked."""


async def answer(desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
    """Count the tokens of a messages request without running it."""
    headers = dict(scope["headers"])
    caller = desk.accounts.identify(presented_secret(headers))
    body = await read_body(scope, receive, desk.max_body_bytes)
    asked = parse_count_request(body)
    document, model = asked.document, asked.model
    visit = Visit(DOOR, headers, caller, read_labels(headers, document, caller))
    facts = facts_of(desk, visit.labels, model, len(body), len(body))
    plan = desk.planner.plan(facts, visit.labels)
    refusal = plan.refusal()
    if refusal is not None:
        raise refusal
    route = desk.table.find(plan.attempts[0].alias)
    provider = route.provider
    if not (provider.is_engine or "anthropic" in provider.dialects):
        count, counted_by = -(-len(body) // CHARACTERS_PER_TOKEN), "estimate"
    else:
        path, sent = outgoing_count(asked, route.model)
        request = ProviderRequest(
            path,
            sent,
            {k.decode(): v.decode("latin-1") for k, v in headers.items() if k.startswith(b"anthropic-")},
            clearance(UNNUMBERED, plan.label, provider.locality),
        )
        count, counted_by = await _ask(provider, request), "engine" if provider.is_engine else "provider"
    await respond_json(send, count_document(count), headers=[(b"x-breakeven-counted-by", counted_by.encode())])


async def _ask(provider: Provider, request: ProviderRequest) -> int:
    async with provider.send(request) as reply:
        body = b"".join([chunk async for chunk in reply.chunks()])
        if reply.status >= 400:
            raise read_error("anthropic", provider.name, reply.status, body, reply.header("retry-after"))
    return _read_count(provider, body)


def _read_count(provider: Provider, body: bytes) -> int:
    error: BreakevenError = UpstreamError(f"{provider.name} did not say how many tokens it counted")
    try:
        document: Json = msgspec.json.decode(body, type=dict)
    except msgspec.DecodeError as cause:
        raise error from cause
    count = document.get("input_tokens")
    if not isinstance(count, int):
        raise error
    return count
