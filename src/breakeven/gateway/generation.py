"""A call for generated text, in any dialect: always streamed upstream, passed on or translated, always metered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec

from breakeven.accounts.bound import upper_bound
from breakeven.config import NO_GATES
from breakeven.errors import BreakevenError, StreamCut, Unanswered, UpstreamError
from breakeven.gateway.asgi import Send
from breakeven.gateway.call import PlannedCall, Visit, facts_of, within
from breakeven.gateway.desk import Desk
from breakeven.gateway.exchange import Exchange, may_be_billed
from breakeven.gateway.metering import CHARACTERS_PER_TOKEN
from breakeven.gateway.planner import TYPICAL_OUTPUT_TOKENS
from breakeven.ledger.records import Outcome
from breakeven.providers.base import ProviderRequest, Reply
from breakeven.routing import gates
from breakeven.routing.egress import clearance
from breakeven.routing.facts import CallFacts
from breakeven.routing.plan import Planned
from breakeven.routing.run import Delivered, Ended, Failed, GateFailed, Turn
from breakeven.routing.table import Route
from breakeven.wire import dialects
from breakeven.wire.body import Json
from breakeven.wire.reader import StreamReader
from breakeven.wire.request import Dialect, ModelRequest
from breakeven.wire.schema import requested_schema
from breakeven.wire.sse import EventSplitter

PREFIX_CHARACTERS = 65_536
"""Of a prompt's beginning, as much as the box's scheduler gets to see."""
_FINISH: dict[str | None, gates.Finish] = {
    "stop": "stop", "length": "length", "tool_use": "tool_calls", "content_filter": "content_filter"
}  # fmt: skip


@dataclass(slots=True)
class _Answer:
    """An answer of which everything but the end has been sent, or nothing at all.

    Attributes:
        whole: all of one that was not passed on, in the client's dialect.
        tail / ending: what is left to send of one that was passed on, and what closes its stream.
        gate: the gate it did not pass, if nobody better could be asked.
    """

    route: Route
    reason: str
    dialect: Dialect
    reader: StreamReader
    whole: Json = field(default_factory=dict)
    tail: bytes = b""
    ending: bytes = b""
    gate: str | None = None


class Generation(PlannedCall):
    """A call to one of the endpoints that generate text."""

    def __init__(self, desk: Desk, visit: Visit, send: Send, request: ModelRequest) -> None:
        super().__init__(desk, visit, send, model=request.model, stream=request.stream)
        self._request = request
        self._characters = request.text_characters()
        self._prompt_bytes = request.prompt_bytes()
        self._answer_ready: _Answer | None = None

    def facts(self) -> CallFacts:
        """What the planner is told."""
        return facts_of(
            self.desk, self.visit.labels, self.model, self._prompt_bytes, self._characters, request=self._request
        )

    def document(self) -> Json:
        """The request as it came."""
        return self._request.document

    def expected_tokens(self) -> int:
        """The prompt by its characters, and the output asked for."""
        return self._characters // CHARACTERS_PER_TOKEN + (self._request.max_output_tokens or TYPICAL_OUTPUT_TOKENS)

    def upper_bound(self, route: Route) -> Decimal | None:
        """Most dollars that an attempt there can cost; ``None`` where nobody knows its price, its length, or what tools
        that the provider runs will add."""
        price = self.desk.metering.price(route.provider, route.model, self.booking.arrival.unix, self._request.tier)
        if price is None or "hosted_tools" in self._request.needs:
            return None
        limit = self._limit(route)
        return upper_bound(self._prompt_bytes, limit, price.rates, choices=self._request.choices)

    async def attempt(self, planned: Planned, turn: Turn) -> Ended:
        """Ask one target; of an answer that fails before it says anything, nothing reaches the client."""
        route = self.desk.table.find(planned.alias)
        dialect = _spoken(self._request.dialect, route.provider.dialects)
        passing = self._request.stream and not self._buffers()
        try:
            outgoing = self._outgoing(route, dialect, turn)
            reservation = await self.reserve(route)
        except BreakevenError as error:
            return Failed(error)
        answer = _Answer(
            route, planned.reason, dialect,
            dialects.reader(
                dialect, pass_usage=self._request.wants_usage, fold=not passing or self._gated(),
                choices=self._request.choices,
            ),
        )  # fmt: skip
        reader = answer.reader
        reader.tier = self._request.tier
        desk = self.desk
        exchange = Exchange(
            route, planned.reason, self.booking.arrival, desk.occupancy, desk.metering.ratios, self._characters
        )
        self.delivery.keep_alive(at_once=route.provider.availability() == "loading")
        try:
            self.sending(planned, route)
            async with within(turn.seconds_left), route.provider.send(outgoing) as reply:
                if reply.status >= 400:
                    body = b"".join([chunk async for chunk in reply.chunks()])
                    name, retry_after = route.provider.name, reply.header("retry-after")
                    raise dialects.read_error(dialect, name, reply.status, body, retry_after)
                await self._follow(reply, answer, exchange, passing=passing)
            if not reader.finished:
                raise StreamCut(f"{route.provider.name} ended its answer before it was complete")
            if reader.answer is not None and not passing:
                created = int(self.booking.arrival.unix)
                answer.whole = dialects.whole_answer(
                    dialect, self._request, reader.answer.completion(), created=created
                )
            failed = self._judge(reader)
        except (BreakevenError, TimeoutError) as raised:
            fault = raised if isinstance(raised, BreakevenError) else self.overdue(route)
            outcome = _outcome(fault, reader)
            used = reader if outcome == "cut" or reader.usage is not None or may_be_billed(route, fault) else None
            await self.book(exchange.observe(outcome, used, fault.code), reservation, route)
            return Failed(fault, self.delivery.begun)
        except Exception:
            used = reader if reader.started or route.provider.locality == "remote" else None
            await self.book(exchange.observe("failed", used, "gateway_fault"), reservation, route)
            raise
        except BaseException:
            await self.book(exchange.observe("client_left", reader), reservation, route)
            raise
        answer.gate = None if failed is None else failed.gate
        error_code = None if failed is None else f"gate:{failed.gate}"
        await self.book(exchange.observe("completed", reader, error_code), reservation, route)
        self._answer_ready = answer
        tokens = reader.usage.total if reader.usage is not None else None
        if failed is None or self.delivery.begun:  # what was said cannot be taken back
            return Delivered(tokens=tokens)
        return GateFailed(failed.gate, failed.why, tokens=tokens)

    async def conclude(self) -> None:
        """Let the last of the answer go."""
        answer = self._answer_ready
        assert answer is not None  # noqa: S101  set by the attempt that ended well
        if answer.gate is not None:
            self._kept_as = None
        cost, request = self.booking.cost(), self._request
        if self._request.stream and not self._buffers():
            await self.delivery.end_stream(answer.tail, answer.ending, answer.route, answer.reason, cost, answer.gate)
            return
        if not request.stream:
            await self.delivery.whole(answer.whole, answer.route, answer.reason, cost, answer.gate)
            return
        passed = dialects.reader(request.dialect, pass_usage=request.wants_usage, fold=False)
        events = passed.take_all(dialects.split_whole(request.dialect, answer.whole))
        await self.delivery.end_stream(events, passed.ending, answer.route, answer.reason, cost, answer.gate)

    def _gated(self) -> bool:
        return self.plan.gates is not NO_GATES

    def _buffers(self) -> bool:
        return self.plan.stream_mode == "buffer" and self._gated()

    def _limit(self, route: Route) -> int | None:
        limits = [limit for limit in (self._request.max_output_tokens, route.max_output_tokens) if limit is not None]
        return min(limits, default=None)

    def _outgoing(self, route: Route, dialect: Dialect, turn: Turn) -> ProviderRequest:
        request, provider = self._request, route.provider
        if route.omit_fields:
            kept = {name: value for name, value in request.document.items() if name not in route.omit_fields}
            request = replace(request, document=kept)
        path, body = dialects.outgoing(
            request, dialect, route.model, engine=provider.is_engine,
            cap_output=route.max_output_tokens, limit_field=route.limit_field,
        )  # fmt: skip
        headers = {}
        if dialect == self._request.dialect:
            headers = {k.decode(): v.decode("latin-1") for k, v in self.forwarded().items()}
        local = provider.locality == "local"
        prompt = self._request.prefix_text(PREFIX_CHARACTERS) if local else ""
        return ProviderRequest(
            path,
            body,
            headers,
            clearance(self.booking.id, self.plan.label, provider.locality),
            self.hints(prompt, self._limit(route), turn),
            self.asked_with,
        )

    async def _follow(self, reply: Reply, answer: _Answer, exchange: Exchange, *, passing: bool) -> None:
        """Read the answer to its end; pass it on as it comes, its beginning held back until words are there.

        Raises:
            BreakevenError: when the server reports an error in mid-stream, or breaks off.
        """
        reader, provider = answer.reader, answer.route.provider.name
        translator = None
        if passing and answer.dialect != self._request.dialect:
            created = int(self.booking.arrival.unix)
            translator = dialects.translator(answer.dialect, self._request, created=created)
        held = b""
        async for events in _events(reply, answer.dialect, provider):
            passed = reader.take_all(events) if translator is None else translator.feed(_kept(reader, events))
            if reader.generating:
                exchange.note_first_token()
            if not passing:
                pass
            elif reader.done:
                answer.tail = held + passed
            elif self.delivery.begun or reader.generating:
                if held or passed:
                    await self.delivery.pass_on(held + passed, answer.route, answer.reason)
                held = b""
            else:
                held += passed
            if reader.error is not None:
                raise dialects.read_stream_error(answer.dialect, provider, reader.error)
            if reader.done:
                break
        else:
            answer.tail = held
        answer.ending = reader.ending if translator is None else translator.feed([reader.ending]) + translator.end()

    def _judge(self, reader: StreamReader) -> gates.Failed | None:
        """The first gate that any of the choices does not pass: a caller may take whichever it likes."""
        if not self._gated():
            return None
        schema = requested_schema(self._request)
        for answered in reader.answers():
            answer = gates.AnswerFacts(
                text=answered.text,
                tool_calls=tuple((call.name, call.arguments) for call in answered.tool_calls),
                finish=_FINISH.get(answered.finish, "other"),
                refused=answered.finish == "refusal",
            )
            if (failed := gates.verdict(answer, self.plan.gates, schema)) is not None:
                return failed
        return None


async def _events(reply: Reply, dialect: Dialect, provider: str) -> AsyncIterator[list[bytes]]:
    """Whole events as they arrive; an answer that is not a stream is cut into the stream it could have been."""
    if "json" in (reply.header("content-type") or ""):
        body = b"".join([chunk async for chunk in reply.chunks()])
        try:
            completion = msgspec.json.decode(body, type=dict)
        except msgspec.DecodeError as error:
            raise Unanswered(f"{provider} answered with something that is not JSON: {error}") from error
        yield dialects.split_whole(dialect, completion)
        return
    splitter = EventSplitter()
    async for chunk in reply.chunks():
        if events := splitter.feed(chunk):
            yield events


def _kept(reader: StreamReader, events: list[bytes]) -> list[bytes]:
    kept = []
    for event in events:
        if (passed := reader.take(event)) is not None:
            kept.append(passed)
        elif reader.done or reader.error is not None:
            break
    return kept


def _spoken(asked: Dialect, spoken: tuple[Dialect, ...]) -> Dialect:
    return asked if asked in spoken else spoken[0]


def _outcome(error: BreakevenError, reader: StreamReader) -> Outcome:
    if reader.started:
        return "cut"
    return "failed" if isinstance(error, UpstreamError) else "refused"
