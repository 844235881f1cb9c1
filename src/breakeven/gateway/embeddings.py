"""``POST /v1/embeddings``: passed through, metered from the usage that the server reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from breakeven.accounts.bound import upper_bound
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import BreakevenError, MalformedBody, Unanswered, UpstreamError
from breakeven.gateway.asgi import Send
from breakeven.gateway.call import Door, PlannedCall, Visit, facts_of, within
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Exchange, may_be_billed
from breakeven.gateway.metering import CHARACTERS_PER_TOKEN
from breakeven.ledger.records import Outcome
from breakeven.providers.base import ProviderRequest
from breakeven.routing.egress import clearance
from breakeven.routing.facts import CallFacts
from breakeven.routing.plan import Planned
from breakeven.routing.run import Delivered, Ended, Failed, Turn
from breakeven.routing.table import Route
from breakeven.wire.body import Json, encode, without_labels
from breakeven.wire.openai_chat import read_usage
from breakeven.wire.openai_errors import read_error

DOOR = Door("/v1/embeddings", "openai")


@dataclass(frozen=True, slots=True)
class _WholeAnswer:
    body: bytes
    usage: TokenCounts | None
    model: str | None
    timings: None = None
    tier: None = None
    finished: bool = True
    server_tools: Mapping[str, int] = field(default_factory=dict)
    text_characters: int = 0


_NOTHING = _WholeAnswer(b"", None, None)
"""An answer of which nothing arrived."""


class Embeddings(PlannedCall):
    """A call for embeddings, which come whole or not at all."""

    def __init__(self, desk: Desk, visit: Visit, send: Send, document: Json, model: str, body_bytes: int) -> None:
        if not document.get("input"):
            raise MalformedBody("input: expected a text, a list of texts or of token ids")
        super().__init__(desk, visit, send, model=model, stream=False)
        self._document = document
        self._body_bytes = body_bytes
        self._characters = _text_characters(document["input"])
        self._whole: tuple[Route, str, _WholeAnswer] | None = None

    def facts(self) -> CallFacts:
        """What the planner is told."""
        return facts_of(self.desk, self.visit.labels, self.model, self._body_bytes, self._body_bytes)

    def document(self) -> Json:
        """The request as it came."""
        return self._document

    def expected_tokens(self) -> int:
        """The texts by their characters."""
        return self._body_bytes // CHARACTERS_PER_TOKEN

    def upper_bound(self, route: Route) -> Decimal | None:
        """Most dollars that an attempt there can cost."""
        price = self.desk.metering.price(route.provider, route.model, self.booking.arrival.unix)
        return None if price is None else upper_bound(self._body_bytes, 0, price.rates)

    async def attempt(self, planned: Planned, turn: Turn) -> Ended:
        """Ask one target."""
        route = self.desk.table.find(planned.alias)
        try:
            permit = clearance(self.booking.id, self.plan.label, route.provider.locality)
            reservation = await self.reserve(route)
        except BreakevenError as error:
            return Failed(error)
        body = encode(without_labels({**self._document, "model": route.model}))
        hints = self.hints("", 0, turn)
        outgoing = ProviderRequest("/embeddings", body, clearance=permit, hints=hints, asked_with=self.asked_with)
        desk = self.desk
        exchange = Exchange(
            route, planned.reason, self.booking.arrival, desk.occupancy, desk.metering.ratios, self._characters
        )
        try:
            self.sending(planned, route)
            async with within(turn.seconds_left):
                whole = await _ask(route, outgoing)
        except (BreakevenError, TimeoutError) as raised:
            fault = raised if isinstance(raised, BreakevenError) else self.overdue(route)
            outcome: Outcome = "failed" if isinstance(fault, UpstreamError) else "refused"
            used = _NOTHING if may_be_billed(route, fault) else None
            await self.book(exchange.observe(outcome, used, fault.code), reservation, route)
            return Failed(fault)
        except BaseException as raised:
            used = _NOTHING if route.provider.locality == "remote" else None
            ending: tuple[Outcome, str | None] = (
                ("failed", "gateway_fault") if isinstance(raised, Exception) else ("client_left", None)
            )
            await self.book(exchange.observe(ending[0], used, ending[1]), reservation, route)
            raise
        await self.book(exchange.observe("completed", whole), reservation, route)
        self._whole = (route, planned.reason, whole)
        return Delivered(tokens=whole.usage.total if whole.usage is not None else None)

    async def conclude(self) -> None:
        """Send the answer as it came."""
        assert self._whole is not None  # noqa: S101  set by the attempt that ended well
        route, reason, whole = self._whole
        await self.delivery.whole(msgspec.Raw(whole.body), route, reason, self.booking.cost())


def _text_characters(given: Any) -> int:
    """Characters of the texts; a token id counts as one token."""
    if isinstance(given, str):
        return len(given)
    if isinstance(given, list):
        return sum(_text_characters(item) for item in given)
    return CHARACTERS_PER_TOKEN


async def _ask(route: Route, outgoing: ProviderRequest) -> _WholeAnswer:
    async with route.provider.send(outgoing) as reply:
        body = b"".join([chunk async for chunk in reply.chunks()])
        if reply.status >= 400:
            raise read_error(route.provider.name, reply.status, body, reply.header("retry-after"))
    try:
        document = msgspec.json.decode(body, type=dict)
    except msgspec.DecodeError as error:
        raise Unanswered(f"{route.provider.name} answered with something that is not JSON: {error}") from error
    served = document.get("model")
    return _WholeAnswer(body, read_usage(document.get("usage")), served if isinstance(served, str) else None)
