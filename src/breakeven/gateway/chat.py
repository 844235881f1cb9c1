"""``POST /v1/chat/completions``: plain and streamed, always streamed upstream, always metered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import cast

import msgspec

from breakeven.errors import BreakevenError, ContextExceeded, LedgerUnavailable, StreamCut, UpstreamError
from breakeven.gateway.asgi import (
    EVENT_STREAM,
    JSON,
    Receive,
    Scope,
    Send,
    error_document,
    respond,
    respond_error,
)
from breakeven.gateway.booking import Booking
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Exchange
from breakeven.gateway.metering import Observation
from breakeven.ledger.records import Outcome
from breakeven.providers.base import ProviderRequest, Reply
from breakeven.routing.egress import clearance
from breakeven.routing.table import Route
from breakeven.wire.openai_chat import ChatRequest, Json, as_stream, parse_chat_request
from breakeven.wire.openai_errors import read_error, read_stream_error
from breakeven.wire.openai_stream import StreamReader
from breakeven.wire.sse import DONE, EventSplitter, encode_event

log = logging.getLogger(__name__)

ENDPOINT = "/v1/chat/completions"
MAX_CHARACTERS_PER_TOKEN = 16
"""No tokeniser packs ordinary text denser: a prompt of more than 16 characters a token cannot fit."""
_DONE_EVENT = encode_event(DONE)
_encode = msgspec.json.Encoder().encode


class ChatCompletion:
    """One call, from its body to the last byte of its answer."""

    def __init__(self, desk: Desk, scope: Scope, send: Send, key: str | None) -> None:
        self._desk = desk
        self._send = send
        self._booking = Booking(desk, ENDPOINT, scope, key)
        self._answering = False
        self._tail = b""

    async def answer(self, body: bytes, receive: Receive) -> None:
        """Serve the call; when the caller leaves, stop the upstream at once and book what was used."""
        request = parse_chat_request(body)
        route = self._desk.table.find(request.model)
        _check_context(request, route)
        self._desk.ledger.check()
        attempt = cast("asyncio.Task[None]", asyncio.current_task())
        watch = asyncio.get_running_loop().create_task(_until_disconnect(receive))
        watch.add_done_callback(lambda done: None if done.cancelled() else attempt.cancel())
        try:
            await self._attempt(request, route)
        except asyncio.CancelledError:
            if not watch.done():
                raise
            attempt.uncancel()
        finally:
            watch.cancel()

    async def _attempt(self, request: ChatRequest, route: Route) -> None:
        exchange = Exchange(route, self._booking.arrival, self._desk.occupancy, request.text_characters())
        reader = StreamReader(pass_usage=request.wants_usage, fold=not request.stream)
        upstream_body = request.upstream_body(
            route.model, {"timings_per_token": True} if route.provider.is_engine else None
        )
        cleared = clearance(self._booking.id, "shareable", route.provider.locality)
        outgoing = ProviderRequest("/chat/completions", upstream_body, clearance=cleared)
        try:
            async with route.provider.send(outgoing) as reply:
                await self._check_status(reply, route)
                events = _events(reply, route, reader, exchange)
                if request.stream:
                    await self._start_stream(route)
                    async for event in events:
                        if reader.done:
                            self._tail = event
                        else:
                            await self._send({"type": "http.response.body", "body": event, "more_body": True})
                else:
                    async for _ in events:
                        pass
            if not reader.finished:
                raise StreamCut(f"{route.provider.name} ended its answer before it was complete")
        except asyncio.CancelledError:
            self._book_failure(request, exchange.observe("client_left", reader))
            raise
        except BreakevenError as error:
            outcome = _outcome(error, reader)
            self._book_failure(request, exchange.observe(outcome, reader if outcome == "cut" else None, error.code))
            await self._fail(error)
            return
        except Exception:
            self._book_failure(request, exchange.observe("failed", None, "gateway_fault"))
            raise
        await self._finish(request, route, reader, exchange)

    async def _check_status(self, reply: Reply, route: Route) -> None:
        if reply.status >= 400:
            body = b"".join([chunk async for chunk in reply.chunks()])
            raise read_error(route.provider.name, reply.status, body, reply.header("retry-after"))

    async def _finish(self, request: ChatRequest, route: Route, reader: StreamReader, exchange: Exchange) -> None:
        """Book the call, then let its last byte go: what a caller has received whole is in the ledger."""
        observation = exchange.observe("completed", reader)
        try:
            cost = self._book(request, observation)
        except BreakevenError as error:
            await self._fail(error)
            return
        if reader.answer is None:
            await self._send({"type": "http.response.body", "body": self._tail + _DONE_EVENT})
        else:
            headers = [JSON, *self._booking.headers(route)]
            if cost is not None:
                headers.append((b"x-breakeven-cost-usd", cost.encode()))
            await respond(self._send, 200, _encode(reader.answer.completion()), headers)

    async def _start_stream(self, route: Route) -> None:
        headers = [EVENT_STREAM, (b"cache-control", b"no-cache"), *self._booking.headers(route)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._answering = True

    async def _fail(self, error: BreakevenError) -> None:
        if self._answering:
            event = encode_event(_encode(error_document(error)))
            await self._send({"type": "http.response.body", "body": event})
        else:
            await respond_error(self._send, error, self._booking.headers())

    def _book_failure(self, request: ChatRequest, observation: Observation) -> None:
        """Record a call that was not completed; the caller hears of the failure, the log of a ledger in trouble."""
        try:
            self._book(request, observation)
        except LedgerUnavailable as error:
            log.error("%s: %s", self._booking.id, error)

    def _book(self, request: ChatRequest, observation: Observation) -> str | None:
        return self._booking.record(request.document, observation, stream=request.stream)


async def _events(reply: Reply, route: Route, reader: StreamReader, exchange: Exchange) -> AsyncIterator[bytes]:
    """The events to pass on, as they come.

    Raises:
        BreakevenError: when the server reports an error in mid-stream, or breaks off.
    """
    if "json" in (reply.header("content-type") or ""):
        for event in _whole_answer(b"".join([chunk async for chunk in reply.chunks()]), route):
            if (kept := reader.take(event)) is not None:
                exchange.note_first_token()
                yield kept
        return
    splitter = EventSplitter()
    async for chunk in reply.chunks():
        passed = reader.take_all(splitter.feed(chunk))
        if reader.generating:
            exchange.note_first_token()
        if passed:
            yield passed
        if reader.error is not None:
            raise read_stream_error(route.provider.name, reader.error)
        if reader.done:
            return


def _whole_answer(body: bytes, route: Route) -> list[bytes]:
    try:
        completion: Json = msgspec.json.decode(body, type=dict)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"{route.provider.name} answered with something that is not JSON: {error}") from error
    return [encode_event(_encode(chunk)) for chunk in as_stream(completion)]


def _outcome(error: BreakevenError, reader: StreamReader) -> Outcome:
    if reader.started:
        return "cut"
    return "failed" if isinstance(error, UpstreamError) else "refused"


def _check_context(request: ChatRequest, route: Route) -> None:
    """Refuse what cannot fit however it is tokenised; servers that know their tokeniser refuse the rest."""
    if route.context is None or (size := request.text_characters()) <= route.context * MAX_CHARACTERS_PER_TOKEN:
        return
    raise ContextExceeded(
        f"the prompt has {size} characters of text, more than {route.context} tokens of context can hold",
        remedy="Shorten the prompt, or serve the model with a larger context.",
    )


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
