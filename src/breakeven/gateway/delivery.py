"""How one call's answer reaches its client: whole, or as a stream kept alive while a model loads."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec

from breakeven.accounts.answers import Answer
from breakeven.errors import BreakevenError
from breakeven.gateway.asgi import EVENT_STREAM, JSON, Headers, Send, respond, respond_error
from breakeven.gateway.booking import Booking
from breakeven.gateway.recorder import Recorder, replay
from breakeven.routing.table import Route
from breakeven.wire.dialects import error_event
from breakeven.wire.request import Dialect

_encode = msgspec.json.Encoder().encode
COST_PLACES = 12
HEARTBEAT = b": waiting for the model\n\n"
"""A comment by the rules of server-sent events: it keeps connections open and every client skips it."""


class Delivery:
    """Sends a call's answer in its client's dialect.

    A stream's headers go out with the first words of the answer, or with the first heartbeat if that comes before; what
    could not be said in headers then, who serves the call and why, follows as a comment.

    Attributes:
        begun: whether the client has received words of an answer, after which no other model may speak.
    """

    def __init__(self, send: Send, dialect: Dialect, booking: Booking, *, stream: bool, heartbeat: float) -> None:
        self._send = send
        self._dialect = dialect
        self._booking = booking
        self._stream = stream
        self._heartbeat = heartbeat
        self._head_sent = False
        self._told: Route | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self.begun = False

    @property
    def started(self) -> bool:
        """Whether the headers of a stream are out, after which an error can only be an event in it."""
        return self._head_sent

    def record(self) -> Recorder:
        """Keep what is sent from now on."""
        recorder = Recorder(self._send)
        self._send = recorder
        return recorder

    async def replay(self, answer: Answer) -> None:
        """An answer given before, in place of one of this call's own."""
        await replay(self._send, answer)

    def keep_alive(self, *, at_once: bool) -> None:
        """Send headers and heartbeats until words arrive: now if the model is known to be loading, else after a while.

        Plain answers cannot be kept alive: their status is not known yet.
        """
        if self._stream and self._timer is None and not self.begun:
            delay = 0.0 if at_once else self._heartbeat
            self._timer = asyncio.get_running_loop().call_later(delay, self._start_beat)

    async def pass_on(self, events: bytes, route: Route, reason: str) -> None:
        """Events of a stream, as they come."""
        if not self.begun:
            await self._quiet()
            events = await self._head(route, reason) + events
            self.begun = True
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def end_stream(
        self, events: bytes, ending: bytes, route: Route, reason: str, cost: Decimal | None, gate: str | None = None
    ) -> None:
        """The last events of a stream, its cost and the gate that it did not pass if there is one, and its end."""
        await self._quiet()
        head = b"" if self.begun else await self._head(route, reason)
        notes = b"".join(b": %s=%s\n\n" % note for note in _notes(cost, gate))
        await self._send({"type": "http.response.body", "body": head + events + notes + ending})

    async def whole(
        self, document: object, route: Route, reason: str, cost: Decimal | None, gate: str | None = None
    ) -> None:
        """A plain answer."""
        headers = [JSON, *self._booking.headers(route, reason), *_notes(cost, gate)]
        await respond(self._send, 200, _encode(document), headers)

    async def fail(self, error: BreakevenError) -> None:
        """An error: the dialect's error event where a stream has begun, else its error document."""
        await self._quiet()
        if self._head_sent:
            await self._send({"type": "http.response.body", "body": error_event(self._dialect, error)})
        else:
            await respond_error(self._send, error, self._booking.headers(), dialect=self._dialect)

    async def stop(self) -> None:
        """No more heartbeats; to be called whatever became of the call."""
        await self._quiet()

    async def _head(self, route: Route | None, reason: str | None) -> bytes:
        """Send the headers if they are not out yet; returns, as comments, what came too late for them."""
        if not self._head_sent:
            self._head_sent = True
            self._told = route
            headers: Headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *self._booking.headers(route, reason)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if route is None or route is self._told:
            return b""
        self._told = route
        late = self._booking.headers(route, reason)[1:]
        return b"".join(b": %s=%s\n\n" % pair for pair in late)

    def _start_beat(self) -> None:
        self._beat = asyncio.get_running_loop().create_task(self._send_beat())

    async def _send_beat(self) -> None:
        await self._head(None, None)
        await self._send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat, self._start_beat)

    async def _quiet(self) -> None:
        beat, self._beat = self._beat, None
        if beat is not None:
            await beat
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _dollars(cost: Decimal) -> str:
    """To a millionth of a micro-dollar; the books keep every digit.

    >>> _dollars(Decimal("0.00036871600864005158126")), _dollars(Decimal("0.0980")), _dollars(Decimal(0))
    ('0.000368716009', '0.098', '0')
    """
    return format(round(cost, COST_PLACES).normalize(), "f")


def _notes(cost: Decimal | None, gate: str | None) -> Headers:
    """What is known only at the end: the cost, unless a part is unknown, and a gate that was not passed."""
    notes: Headers = []
    if cost is not None:
        notes.append((b"x-breakeven-cost-usd", _dollars(cost).encode()))
    if gate is not None:
        notes.append((b"x-breakeven-gate", gate.encode()))
    return notes
