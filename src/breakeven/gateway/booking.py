"""One call's entry in the books: its id, its labels, its attempts."""

from __future__ import annotations

import secrets
import time
from decimal import Decimal
from itertools import count

from breakeven.economics.tokens import TokenCounts
from breakeven.gateway.asgi import Headers
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Arrival
from breakeven.gateway.labels import Labels
from breakeven.gateway.metering import Observation
from breakeven.ledger.records import Attempt, Call, Durations, Money, Outcome
from breakeven.routing.table import Route
from breakeven.units import ZERO_USD

CACHE = "cache"
"""Stands in the books for the provider of an answer that was given before."""
KILLED = "gateway_killed"
"""The error of an attempt whose end nobody here saw: the provider may have billed it."""
_PROCESS = secrets.token_hex(6)
_COUNTER = count()
"""Ids rise with time, which keeps the ledger's indexes compact: random ones cost a third more to insert."""


class Booking:
    """Made when a call arrives, recorded once, when it ends.

    Attributes:
        id: the call's.
        arrival: when it came.
        attempts: what was tried so far, priced.
        recorded: whether the call is in the books.
    """

    def __init__(self, desk: Desk, endpoint: str, labels: Labels) -> None:
        self._desk = desk
        self._endpoint = endpoint
        self._labels = labels
        self.arrival = Arrival.now()
        self.id = f"call_{int(self.arrival.unix * 1e6):014x}{_PROCESS}{next(_COUNTER) & 0xFFFFFF:06x}"
        self.attempts: list[Attempt] = []
        self.recorded = False

    def headers(self, route: Route | None = None, reason: str | None = None) -> Headers:
        """Response headers that tell which call this was, who served it and why."""
        headers = [(b"x-breakeven-call-id", self.id.encode())]
        if route is not None:
            headers.append((b"x-breakeven-served-by", _header_text(f"{route.provider.name}/{route.model}")))
        if reason is not None:
            headers.append((b"x-breakeven-reason", _header_text(reason)))
        return headers

    def add(self, observation: Observation) -> Attempt:
        """Price an attempt that has ended and keep it for the record."""
        attempt = self._desk.metering.attempt(observation, len(self.attempts) + 1)
        self.attempts.append(attempt)
        return attempt

    def replayed(self, provider: str, model: str) -> None:
        """An answer given before took the place of an attempt: it cost nothing, and nobody counted its tokens again."""
        nothing = Money(ZERO_USD, ZERO_USD, ZERO_USD, ZERO_USD, ZERO_USD)
        self.attempts.append(
            Attempt(
                number=1,
                provider=CACHE,
                locality="local",
                model_asked=f"{provider}/{model}",
                started_at=self.arrival.unix,
                durations=Durations(),
                outcome="completed",
                counted_by="nobody",
                reason="the same request was answered before and its task keeps answers",
                tokens=TokenCounts(),
                money=nothing,
            )
        )

    def cost(self) -> Decimal | None:
        """Dollars of all attempts so far, discarded ones included; ``None`` when a part is unknown."""
        total = ZERO_USD
        for attempt in self.attempts:
            if attempt.cost is None:
                return None
            total += attempt.cost
        return total

    def record(self, model: str, outcome: Outcome, *, task: str | None, stream: bool) -> None:
        """Write the call to the ledger and tell those who watch.

        Raises:
            LedgerUnavailable: when it could not be written and policy is to refuse.
        """
        call = self._call(model, outcome, tuple(self.attempts), task=task, stream=stream)
        self.recorded = True
        self._desk.ledger.record(call)
        for observe in self._desk.observers:
            observe(call)

    def sending(self, route: Route, reason: str, model: str, *, task: str | None, stream: bool) -> None:
        """Note an attempt that a provider may bill, as it stands in the books if the gateway is killed before its end.

        Raises:
            LedgerUnavailable: when it could not be noted and policy is to refuse.
        """
        if route.provider.locality == "local":
            return
        unknown = Attempt(
            number=len(self.attempts) + 1,
            provider=route.provider.name,
            locality="remote",
            model_asked=route.model,
            started_at=time.time(),
            durations=Durations(),
            outcome="cut",
            counted_by="nobody",
            reason=reason,
            error=KILLED,
        )
        self._desk.ledger.sending(self._call(model, "cut", (*self.attempts, unknown), task=task, stream=stream))

    def _call(
        self, model: str, outcome: Outcome, attempts: tuple[Attempt, ...], *, task: str | None, stream: bool
    ) -> Call:
        return Call(
            id=self.id,
            received_at=self.arrival.unix,
            endpoint=self._endpoint,
            model=model,
            stream=stream,
            outcome=outcome,
            attempts=attempts,
            key=self._labels.key,
            agent=self._labels.agent,
            task=task,
            traceparent=self._labels.traceparent,
        )


def _header_text(text: str) -> bytes:
    return text.encode("ascii", "replace").replace(b"\n", b" ").replace(b"\r", b" ")
