"""``POST /v1/embeddings``: passed through, metered from the usage that the server reports."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import BreakevenError, MalformedBody, UpstreamError
from breakeven.gateway.asgi import JSON, Scope, Send, respond, respond_error
from breakeven.gateway.booking import Booking
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Exchange
from breakeven.ledger.records import Outcome
from breakeven.privacy.clearance import Clearance
from breakeven.providers.base import ProviderRequest
from breakeven.routing.egress import clearance
from breakeven.routing.table import Route
from breakeven.wire.openai_chat import Json, parse_object, read_model, read_usage
from breakeven.wire.openai_errors import read_error

ENDPOINT = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class _WholeAnswer:
    body: bytes
    usage: TokenCounts | None
    model: str | None
    timings: None = None
    text_characters: int = 0


async def answer(desk: Desk, scope: Scope, send: Send, key: str | None, body: bytes) -> None:
    """Serve one call; a caller that leaves early is served to the end, since embeddings cannot be cut short."""
    booking = Booking(desk, ENDPOINT, scope, key)
    document = parse_object(body)
    model = read_model(document)
    if not document.get("input"):
        raise MalformedBody("input: expected a text, a list of texts or of token ids")
    route = desk.table.find(model)
    desk.ledger.check()
    exchange = Exchange(route, booking.arrival, desk.occupancy, len(body))
    try:
        whole = await _ask(route, document, clearance(booking.id, "shareable", route.provider.locality))
    except asyncio.CancelledError:
        booking.record(document, exchange.observe("client_left", None), stream=False)
        raise
    except BreakevenError as error:
        outcome: Outcome = "failed" if isinstance(error, UpstreamError) else "refused"
        booking.record(document, exchange.observe(outcome, None, error.code), stream=False)
        await respond_error(send, error, booking.headers())
        return
    except Exception:
        booking.record(document, exchange.observe("failed", None, "gateway_fault"), stream=False)
        raise
    cost = booking.record(document, exchange.observe("completed", whole), stream=False)
    headers = [JSON, *booking.headers(route)]
    if cost is not None:
        headers.append((b"x-breakeven-cost-usd", cost.encode()))
    await respond(send, 200, whole.body, headers)


async def _ask(route: Route, document: Json, cleared: Clearance | None) -> _WholeAnswer:
    body = msgspec.json.encode({**document, "model": route.model})
    async with route.provider.send(ProviderRequest("/embeddings", body, clearance=cleared)) as reply:
        body = b"".join([chunk async for chunk in reply.chunks()])
        if reply.status >= 400:
            raise read_error(route.provider.name, reply.status, body, reply.header("retry-after"))
    try:
        document = msgspec.json.decode(body, type=dict)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"{route.provider.name} answered with something that is not JSON: {error}") from error
    served = document.get("model")
    return _WholeAnswer(body, read_usage(document.get("usage")), served if isinstance(served, str) else None)
