"""One call's entry in the books: its id, its labels, its attempts."""

from __future__ import annotations

import secrets
from itertools import count

from breakeven.gateway.asgi import Headers, Scope, header
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Arrival
from breakeven.gateway.metering import Observation
from breakeven.ledger.records import Attempt, Call
from breakeven.routing.table import Route
from breakeven.wire.openai_chat import Json, metadata_label

_PROCESS = secrets.token_hex(6)
_COUNTER = count()
"""Ids rise with time, which keeps the ledger's indexes compact: random ones cost a third more to insert."""


class Booking:
    """Made when a call arrives, recorded when it ends."""

    def __init__(self, desk: Desk, endpoint: str, scope: Scope, key: str | None) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._scope = scope
        self._key = key
        self.arrival = Arrival.now()
        self.id = f"call_{int(self.arrival.unix * 1e6):014x}{_PROCESS}{next(_COUNTER) & 0xFFFFFF:06x}"

    def headers(self, route: Route | None = None) -> Headers:
        """Response headers that tell which call this was and who served it."""
        headers = [(b"x-breakeven-call-id", self.id.encode())]
        if route is not None:
            served_by = f"{route.provider.name}/{route.model}"
            headers.append((b"x-breakeven-served-by", served_by.encode("ascii", "replace")))
        return headers

    def record(self, document: Json, observation: Observation, *, stream: bool) -> str | None:
        """Write the call to the ledger; returns its cost in dollars as text, ``None`` when that is unknown.

        Raises:
            LedgerUnavailable: when it could not be written and policy is to refuse.
        """
        attempt = self._desk.metering.attempt(observation)
        call = Call(
            id=self.id,
            received_at=self.arrival.unix,
            endpoint=self._endpoint,
            model=str(document.get("model")),
            stream=stream,
            outcome=observation.outcome,
            attempts=(attempt,),
            key=self._key,
            agent=header(self._scope, b"x-breakeven-agent") or metadata_label(document, "agent"),
            task=header(self._scope, b"x-breakeven-task") or metadata_label(document, "task"),
        )
        self._desk.ledger.record(call)
        return _cost(attempt)


def _cost(attempt: Attempt) -> str | None:
    money = attempt.money
    if attempt.locality == "remote":
        return None if money.billed is None else format(money.billed, "f")
    parts = (money.marginal_energy, money.idle_share, money.amortisation_share)
    known = [part for part in parts if part is not None]
    return format(sum(known), "f") if len(known) == len(parts) else None
