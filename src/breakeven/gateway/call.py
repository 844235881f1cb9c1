"""One call of any kind, from its plan to its entry in the books; what is asked of a target is up to the kind."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import cast

import msgspec

from breakeven.accounts.budget import UNBUDGETED, Reservation, Spender
from breakeven.accounts.keys import Caller
from breakeven.accounts.responses import response_key
from breakeven.errors import BreakevenError, BudgetRefused, DeadlineExceeded, LedgerUnavailable, UpstreamError
from breakeven.gateway.asgi import Receive, Send, gateway_fault
from breakeven.gateway.booking import Booking
from breakeven.gateway.delivery import Delivery
from breakeven.gateway.desk import Desk
from breakeven.gateway.labels import Labels
from breakeven.gateway.metering import CHARACTERS_PER_TOKEN, Observation
from breakeven.gateway.recorder import Recorder
from breakeven.ledger.records import Outcome
from breakeven.providers.base import Hints
from breakeven.routing.facts import CallFacts
from breakeven.routing.plan import Plan, Planned
from breakeven.routing.policy import strictest
from breakeven.routing.run import Ended, Failed, GateFailed, Turn, run
from breakeven.routing.table import Route
from breakeven.units import ZERO_USD
from breakeven.wire.body import Json
from breakeven.wire.request import Dialect, ModelRequest

log = logging.getLogger(__name__)
FORWARDED: dict[Dialect, bytes] = {"anthropic": b"anthropic-", "openai": b"openai-", "responses": b"openai-"}
"""Headers that belong to a dialect, passed on unchanged where it is spoken on both sides."""
LOOK_AFTER_SECONDS = 0.05
"""When a call begins to watch whether its caller is still there."""
_UNHURRIED: AbstractAsyncContextManager[object] = nullcontext()


@dataclass(frozen=True, slots=True)
class Door:
    """An endpoint: its path and the dialect spoken there."""

    path: str
    dialect: Dialect


class Visit(msgspec.Struct, frozen=True):
    """What came in at a door.

    Attributes:
        headers: of the request, names in lower case.
        caller / labels: who calls, and what is said of the call.
    """

    door: Door
    headers: Mapping[bytes, bytes]
    caller: Caller
    labels: Labels


class PlannedCall(ABC):
    """Plans, tries, books, answers. Subclasses know what to ask of a target and how to answer with it.

    Attributes:
        completed: whether the whole answer has been sent.
    """

    def __init__(self, desk: Desk, visit: Visit, send: Send, *, model: str, stream: bool) -> None:
        self.desk = desk
        self.visit = visit
        self.model = model
        self.stream = stream
        self.booking = Booking(desk, visit.door.path, visit.labels)
        self.delivery = Delivery(
            send, visit.door.dialect, self.booking, stream=stream, heartbeat=desk.heartbeat_seconds
        )
        self.plan: Plan
        self.completed = False
        self._began = time.monotonic()
        self._tried: list[str] = []
        self._provider_key: str | None = None
        self._kept_as: tuple[str, Recorder] | None = None

    @abstractmethod
    def facts(self) -> CallFacts:
        """What the planner is told."""

    @abstractmethod
    def document(self) -> Json:
        """The request as it came."""

    @abstractmethod
    def upper_bound(self, route: Route) -> Decimal | None:
        """Most dollars that an attempt there can cost; ``None`` when nobody can tell."""

    @abstractmethod
    def expected_tokens(self) -> int:
        """What an attempt will use by estimate, prompt and output, for the limits of providers and keys."""

    @abstractmethod
    async def attempt(self, planned: Planned, turn: Turn) -> Ended:
        """Ask one target, and book the attempt."""

    @abstractmethod
    async def conclude(self) -> None:
        """Send what is left of the answer, now that the call is in the books."""

    async def serve(self, receive: Receive) -> None:
        """Serve the call; when the caller leaves, stop at once and book what was used.

        Raises:
            RequestError, UpstreamError: when the call cannot even be tried.
            LedgerUnavailable: when it could not be booked.
        """
        self.desk.ledger.check()
        throttle, caller, expected = self.desk.accounts.throttle, self.visit.caller, self.expected_tokens()
        throttle.admit(caller, expected)
        try:
            await self._serve(receive)
        finally:
            throttle.correct(caller, self._used_tokens() - expected)

    def _used_tokens(self) -> int:
        """Tokens of all attempts, as far as anybody counted or estimated them."""
        return sum(attempt.tokens.total for attempt in self.booking.attempts if attempt.tokens is not None)

    async def _serve(self, receive: Receive) -> None:
        self.plan = self._plan()
        if self.plan.cache_seconds is not None and await self._given_before():
            return
        serving = cast("asyncio.Task[None]", asyncio.current_task())
        watch = _Watch(receive, serving)
        try:
            await self._answer(await self._run())
        except asyncio.CancelledError:
            self._record_failure("client_left")
            if not watch.left:
                raise
            serving.uncancel()
        except Exception as error:
            self._record_failure("failed")
            if not self.delivery.started:
                raise
            if not isinstance(error, BreakevenError):
                log.exception("%s failed in mid-stream", self.booking.id)
            await self.delivery.fail(error if isinstance(error, BreakevenError) else gateway_fault())
        finally:
            watch.stop()
            await self.delivery.stop()

    def _plan(self) -> Plan:
        facts = self.facts()
        plan = self.desk.planner.plan(facts, self.visit.labels)
        refusal = plan.refusal()
        if refusal is None:
            return plan
        instead = self.desk.planner.instead(plan, facts, self.visit.labels)
        if instead is None:
            raise refusal
        return instead

    async def _given_before(self) -> bool:
        """Give the answer that the same request had before, or keep the one that this call will get."""
        first, path = self.plan.attempts[0], self.visit.door.path
        key = response_key(
            path, self.document(), f"{first.provider}/{first.model}", self.plan.label,
            task=self.plan.task, gates=self.plan.gates.model_dump_json(), headers=self.forwarded(),
        )  # fmt: skip
        answer = self.desk.responses.get(key)
        if answer is None:
            self._kept_as = key, self.delivery.record()
            return False
        self.booking.replayed(first.provider, first.model)
        self.booking.record(self.model, "completed", task=self.plan.task, stream=self.stream)
        await self.delivery.replay(answer)
        self.completed = True
        return True

    async def _run(self) -> Ended:
        ended = await self._try_all(self.plan)
        if isinstance(ended, Failed) and isinstance(ended.error, BudgetRefused) and not ended.begun:
            instead = self.desk.planner.instead(self.plan, self.facts(), self.visit.labels)
            if instead is not None:
                self.plan = instead
                return await self._try_all(instead)
        return ended

    async def _try_all(self, plan: Plan) -> Ended:
        runtime = self.desk.runtime
        outcome = await run(
            plan,
            self._attempt,
            breakers=runtime.breakers,
            limiters=runtime.limiters,
            retry=runtime.retry,
            tokens=self.expected_tokens(),
            began=self._began,
        )
        return outcome.ended

    async def _attempt(self, planned: Planned, turn: Turn) -> Ended:
        """Ask one target; the reason why names what became of those before it."""
        if self._tried:
            planned = replace(planned, reason=f"{planned.reason} ({'; '.join(self._tried)})")
        self._provider_key = None
        ended = await self.attempt(planned, turn)
        if isinstance(ended, Failed):
            self._tried.append(f"{planned.alias}: {ended.error.code}")
        elif isinstance(ended, GateFailed):
            self._tried.append(f"{planned.alias}: not good enough by {ended.gate}")
        return ended

    async def _answer(self, ended: Ended) -> None:
        if isinstance(ended, Failed):
            attempts = self.booking.attempts
            self._record_failure(attempts[-1].outcome if attempts else _outcome_of(ended.error))
            await self.delivery.fail(ended.error)
            return
        try:
            self.booking.record(self.model, "completed", task=self.plan.task, stream=self.stream)
        except LedgerUnavailable as error:
            await self.delivery.fail(error)
        else:
            await self.conclude()
            self.completed = True
            if self._kept_as is not None and self.plan.cache_seconds is not None:
                key, recorder = self._kept_as
                self.desk.responses.put(key, recorder.answer(), self.plan.cache_seconds)

    def forwarded(self) -> dict[bytes, bytes]:
        """Headers of the client's dialect."""
        prefix = FORWARDED[self.visit.door.dialect]
        return {name: value for name, value in self.visit.headers.items() if name.startswith(prefix)}

    async def reserve(self, route: Route) -> Reservation:
        """Hold the most that an attempt can cost in every budget that covers it; errors as ``Accounts.reserve``."""
        labels, provider = self.visit.labels, route.provider
        spender = Spender(labels.key, self.plan.task, labels.agent, provider.name, route.model, provider.locality)
        if not self.desk.accounts.covers(spender):
            return UNBUDGETED
        bound = self.upper_bound(route)
        return await self.desk.accounts.reserve(spender, bound, self.booking.arrival.unix)

    def sending(self, planned: Planned, route: Route) -> None:
        """Note an attempt before it leaves; errors as ``Booking.sending``."""
        self.booking.sending(route, planned.reason, self.model, task=self.plan.task, stream=self.stream)

    async def book(self, observation: Observation, reservation: Reservation, route: Route) -> None:
        """Price an attempt that has ended, learn from it, and turn what was held for it into what it cost."""
        observation.provider_key = self._provider_key
        attempt = self.booking.add(observation)
        if observation.outcome == "completed" and attempt.tokens is not None:
            seconds = attempt.box_seconds if attempt.box_seconds is not None else attempt.durations.total
            self.desk.forecast.observe(route, attempt.tokens.input, attempt.tokens.output, seconds or 0.0)
        await self.desk.accounts.settle(reservation, ZERO_USD if attempt.unserved else attempt.cost)

    def asked_with(self, key: str) -> None:
        """Note the provider's key that an attempt is made with; another one may follow when it is turned away."""
        self._provider_key = key

    def overdue(self, route: Route) -> DeadlineExceeded:
        """The error for an attempt that the deadline ended."""
        return DeadlineExceeded(
            f"{route.provider.name} had not answered in full at the deadline of {self.plan.deadline_seconds:g} s",
            remedy="Allow more time, or ask for less output.",
        )

    def hints(self, prompt: str, output_tokens: int | None, turn: Turn) -> Hints:
        """What the box's scheduler is told."""
        labels, plan = self.visit.labels, self.plan
        return Hints(labels.agent, labels.chain, plan.priority, turn.seconds_left, prompt, output_tokens)

    def _record_failure(self, outcome: Outcome) -> None:
        """Record a call that was not completed; the caller hears of the failure, the log of a ledger in trouble.

        One that is in the books already stays as it is: its answer was whole when it was recorded.
        """
        if self.booking.recorded:
            return
        try:
            self.booking.record(self.model, outcome, task=self.plan.task, stream=self.stream)
        except LedgerUnavailable as error:
            log.error("%s: %s", self.booking.id, error)


def within(seconds: float | None) -> AbstractAsyncContextManager[object]:
    """Raises ``TimeoutError`` after so many seconds; ``None`` is any time."""
    return _UNHURRIED if seconds is None else asyncio.timeout(seconds)


def facts_of(
    desk: Desk, labels: Labels, model: str, prompt_bytes: int, characters: int, *, request: ModelRequest | None = None
) -> CallFacts:
    """What the planner is told of a call of so many characters of text; ``request`` where it is for generated text."""
    label, source = strictest(labels.data, desk.planner.default_data)
    return CallFacts(
        model=model,
        label=label,
        label_source=source,
        task=labels.task,
        prompt_tokens_estimate=characters // CHARACTERS_PER_TOKEN,
        prompt_bytes=prompt_bytes,
        max_output_tokens=request.max_output_tokens if request is not None else None,
        needs=request.needs if request is not None else frozenset(),
        stream=request is not None and request.stream,
        deadline_seconds=labels.deadline_seconds,
        agent=labels.agent,
        priority=labels.priority,
    )


def _outcome_of(error: BreakevenError) -> Outcome:
    return "failed" if isinstance(error, UpstreamError) else "refused"


class _Watch:
    """Cancels a call when its caller leaves. It looks after a while, since looking takes a task and most calls of a
    fast server have ended by then.

    Attributes:
        left: whether the caller has left.
    """

    def __init__(self, receive: Receive, serving: asyncio.Task[None]) -> None:
        self.left = False
        self._receive = receive
        self._serving = serving
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, self._look)

    def stop(self) -> None:
        """The call has ended."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = asyncio.get_running_loop().create_task(self._until_disconnect())

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._serving.cancel()
