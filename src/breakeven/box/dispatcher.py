"""The queue in front of the engines: carries out what the pool decides, on real engines and in real time.

A call waits here, not in the engine: there an abandoned call is computed all the same, and nobody can say who goes
first. Once it is its turn, its slot is made ready (KV saved, KV restored) and its body is sent with the slot's number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import count
from typing import Any

import msgspec

from breakeven.box.backend import BoxBackend
from breakeven.box.cache_size import PromptDemand
from breakeven.box.engine_reply import EngineReply
from breakeven.box.forecast import Forecast
from breakeven.box.kv_files import KvFiles
from breakeven.box.kv_moves import KvMoves
from breakeven.box.pool import REMEMBERED_AGENTS, EngineFacts, Measured, Pool
from breakeven.box.pool_state import Call, PoolState, Priority
from breakeven.box.prefix import Prompt
from breakeven.box.prefix_watch import WARNS_AFTER, AgentHealth, PrefixWatch
from breakeven.box.scheduler import Decision, Forget, Prefetch, Refuse, Rules, Start
from breakeven.box.stuck_slots import SHORTEST_SILENCE_SECONDS, StuckSlots
from breakeven.box.work import Work, read_work
from breakeven.errors import DeadlineUnreachable, UpstreamError
from breakeven.providers.base import Availability, Hints, ProviderRequest
from breakeven.units import Seconds, Tokens

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, until an agent's own prompts have been counted."""

PRIORITIES = {"interactive": Priority.INTERACTIVE, "agent": Priority.AGENT, "batch": Priority.BATCH}


@dataclass(frozen=True, slots=True)
class BoxSnapshot:
    """The pool as it is now, for people to look at.

    Attributes:
        at: Unix time.
        state: engines with their measured speeds, slots, who waits, copies.
        agents: cached tokens and broken prefixes by agent.
        queue_seconds: for how long the calls that wait have done so, oldest first.
    """

    at: float
    state: PoolState
    agents: dict[str, AgentHealth]
    queue_seconds: tuple[Seconds, ...]


class Dispatcher:
    """Serves calls on a pool of engines.

    Args:
        name: of the pool, for messages.
        files: where KV is saved; ``None`` when it is not.
        file_budget: bytes that may take.
        load_seconds: how long calls wait for an engine when none is there.
        shortest_silence: for which an engine may say nothing of a call before that counts as stuck.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[BoxBackend],
        *,
        load_seconds: Seconds,
        rules: Rules | None = None,
        files: KvFiles | None = None,
        file_budget: int = 0,
        shortest_silence: Seconds = SHORTEST_SILENCE_SECONDS,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self.name = name
        self.pool = Pool(rules or Rules(), file_budget=file_budget if files is not None else 0)
        self.watch = PrefixWatch()
        self._backends = {backend.name: backend for backend in backends}
        self._kv = KvMoves(self.pool, self._backends, files, self._decide)
        self._stuck = StuckSlots(self.pool, self._backends, self._decide, shortest_silence=shortest_silence)
        self._load_seconds = load_seconds
        self._clock = clock
        self._ids = count(1)
        self._turns: dict[int, asyncio.Future[Start]] = {}
        self._facts: dict[str, EngineFacts | None] = {}
        self._characters_per_token: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching = False
        self._look: asyncio.TimerHandle | None = None
        self._despair: asyncio.TimerHandle | None = None

    def availability(self) -> Availability:
        """Ready while an engine is up or none has been looked for yet; gone when none will come by itself."""
        if any(self._facts.values()) or not self._facts:
            return "ready"
        return "gone" if all(backend.gone() for backend in self._backends.values()) else "loading"

    def trouble(self) -> str:
        """Why calls are not taken while it is gone: what each engine says."""
        return "; ".join(backend.trouble().message for backend in self._backends.values())

    def foresee(self, hints: Hints, prompt_tokens: Tokens, output_tokens: Tokens) -> Seconds | None:
        """Seconds to the whole answer of a call whose prompt is not known but probably begins as its agent's did."""
        now = self._clock()
        prefix = self.pool.latest_prompt(hints.agent) if hints.agent is not None else ()
        call = Call(
            id=next(self._ids),
            agent=hints.agent or "",
            prompt=Prompt(prefix, prompt_tokens),
            arrived=now,
            priority=PRIORITIES[hints.priority],
            output_tokens=output_tokens,
        )
        found = self.pool.forecast(call, now)
        return None if found is None else found.total

    def forecast(self, request: ProviderRequest) -> Forecast | None:
        """How long a call would take if it entered now; ``None`` while no engine has been measured."""
        now = self._clock()
        return self.pool.forecast(self._call(read_work(request.path, request.body), request.hints, now), now)

    @property
    def slots(self) -> int:
        """Calls that an engine can serve at once; 0 while none is up."""
        return self.pool.slots

    def serve_at_once(self, calls: int | None) -> None:
        """Serve no more than so many at once on each engine from now on; ``None`` for as many as there are slots."""
        self.pool.serve_at_once(calls)
        if self._turns:
            self._decide()

    def demand(self) -> PromptDemand:
        """The prompts to be kept for the agents at work."""
        return self.pool.demand(self._clock())

    def snapshot(self) -> BoxSnapshot:
        """The pool as it is now."""
        now = self._clock()
        state = self.pool.state(now)
        waits = sorted((now - call.arrived for call in state.waiting), reverse=True)
        return BoxSnapshot(time.time(), state, self.watch.agents, tuple(waits))

    @asynccontextmanager
    async def send(self, request: ProviderRequest) -> AsyncIterator[EngineReply]:
        """Serve a call when its turn comes; leaving the context, or the queue, frees its place at once.

        An engine that breaks off before it has generated anything is replaced by another, or by itself once it is back.

        Raises:
            DeadlineUnreachable: its answer would come too late, now or after it has waited.
            EngineUnavailable: no engine came up in time, or each that was tried failed.
        """
        self._begin_watching()
        work = read_work(request.path, request.body)
        call = self._call(work, request.hints, self._clock())
        self._admit(call)
        tries = 1 + len(self._backends)
        while True:
            start = await self._turn(call, work)
            backend, reply = self._backends[start.engine], None
            patience = self._stuck.patience(backend, work)
            try:
                await self._kv.make_ready(start)
                pins = backend.abilities.pins and work.generates
                body = work.body_for_slot(start.slot) if pins else request.body
                sent = msgspec.structs.replace(request, body=body, silence_seconds=patience)
                async with backend.send(sent) as answer:
                    begun = EngineReply(answer)
                    await begun.begin()
                    reply = begun
                    yield reply
                return
            except UpstreamError as error:
                tries -= 1
                if reply is not None or not tries:
                    raise
                call = replace(call, avoids=call.avoids | {start.engine})
                log.warning("%s; its call goes back to the queue", error.message)
                await self._check(backend)
            finally:
                self._end(call, start, work, reply, patience)

    async def close(self) -> None:
        """Stop watching; calls under way end with their callers."""
        self._watching = True
        for timer in (self._look, self._despair):
            if timer is not None:
                timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for backend in self._backends.values():
            await backend.close()
        self._kv.clear()

    def _call(self, work: Work, hints: Hints, now: Seconds) -> Call:
        agent = hints.agent or work.owner
        per_token = self._characters_per_token.get(agent, CHARACTERS_PER_TOKEN)
        tokens = round(work.characters / per_token) if work.generates else 0
        return Call(
            id=next(self._ids),
            agent=agent,
            prompt=Prompt(work.prefix if work.generates else (), tokens, work.head_blocks),
            arrived=now,
            priority=PRIORITIES[hints.priority],
            chain=(hints.chain or agent) if work.generates else None,
            deadline=None if hints.deadline_seconds is None else now + hints.deadline_seconds,
            output_tokens=self.pool.expected_output(agent, work.limit or hints.output_tokens) if work.generates else 0,
        )

    def _admit(self, call: Call) -> None:
        if call.deadline is None or (found := self.pool.forecast(call, call.arrived)) is None:
            return
        if (left := call.deadline - call.arrived) < found.total:
            raise DeadlineUnreachable(
                f"an answer would take {found.total:.1f} s ({found.wait:.1f} s of them in the queue), "
                f"the deadline leaves {left:.1f} s",
                remedy="Send it elsewhere, or allow it more time.",
            )

    async def _turn(self, call: Call, work: Work) -> Start:
        """Wait in the queue until a slot is the call's."""
        turn: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._turns[call.id] = turn
        if self.pool.arrive(call, self._clock()):
            self._watch_prefix(call, work)
        self._decide()
        self._despair_when_alone()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.pool.leave(call.id)
            else:
                self.pool.finish(call.id, self._clock(), None)  # its turn came in the moment in which its caller left
            self._decide()
            raise
        finally:
            del self._turns[call.id]

    def _end(self, call: Call, start: Start, work: Work, reply: EngineReply | None, patience: Seconds) -> None:
        now = self._clock()
        completed = reply is not None and reply.complete and reply.status == HTTPStatus.OK
        measured = reply.measured() if reply is not None and completed else None
        self.pool.finish(call.id, now, measured)
        if measured is not None:
            self._note_counts(call, start, work, measured)
        elif (slots := self._backends[start.engine].slots) is not None:
            self.pool.hold(start.engine, start.slot, call.id)
            self._spawn(self._stuck.free_when_idle(slots, start, call.id, patience))
        self._decide()

    def _note_counts(self, call: Call, start: Start, work: Work, measured: Measured) -> None:
        if measured.computed is None or measured.cached is None:
            return
        prompt = measured.computed + measured.cached
        if prompt and work.characters:
            self._characters_per_token[call.agent] = work.characters / prompt
            while len(self._characters_per_token) > REMEMBERED_AGENTS:
                del self._characters_per_token[next(iter(self._characters_per_token))]
        self.watch.call_ended(call.agent, prompt=prompt, cached=measured.cached, expected=start.reused)

    def _watch_prefix(self, call: Call, work: Work) -> None:
        text = "".join(work.texts)
        health = self.watch.run_begins(call.agent, work.prefix, work.head_blocks, text, call.prompt.tokens)
        if health.breaks == WARNS_AFTER and health.last_break is not None:
            log.warning(
                "agent %s: its prompts differ from run to run at character %d (about token %d), so nothing after that "
                "is reused; put what changes last",
                call.agent,
                health.last_break.at_character,
                health.last_break.at_token,
            )

    def _decide(self) -> None:
        now = self._clock()
        again = False
        for decision in self.pool.decide(now):
            again |= self._carry_out(decision, now)
        if again:
            self._decide()
            return
        if self._look is not None:
            self._look.cancel()
        look = self.pool.next_look(now)
        loop = asyncio.get_running_loop()
        self._look = None if look is None else loop.call_later(max(0.0, look - now), self._decide)

    def _carry_out(self, decision: Decision, now: Seconds) -> bool:
        """Act on a decision; says whether it came to nothing, so that another must be made."""
        match decision:
            case Start():
                turn = self._turns[decision.call]
                if turn.done():  # its caller has just left
                    self.pool.finish(decision.call, now, None)
                    return True
                turn.set_result(decision)
            case Refuse():
                turn = self._turns[decision.call]
                if not turn.done():
                    turn.set_exception(
                        DeadlineUnreachable(
                            f"an answer takes {decision.needed:.1f} s, the deadline leaves {decision.left:.1f} s",
                            remedy="Send it elsewhere, or allow it more time.",
                        )
                    )
            case Prefetch():
                holder = -next(self._ids)
                self.pool.hold(decision.engine, decision.slot, holder)
                self._spawn(self._kv.prefetch(decision, holder))
            case Forget(copy=copy):
                self._kv.delete(copy)
        return False

    def _begin_watching(self) -> None:
        if not self._watching:
            self._watching = True
            for backend in self._backends.values():
                self._spawn(self._follow(backend))

    async def _follow(self, backend: BoxBackend) -> None:
        while True:
            change = asyncio.ensure_future(backend.changed())
            try:
                await self._check(backend)
                await change
            finally:
                change.cancel()

    async def _check(self, backend: BoxBackend) -> None:
        """Bring the books up to date with what an engine says of itself."""
        facts, before = await backend.check(), self._facts.get(backend.name)
        self._facts[backend.name] = facts
        if facts != before:
            if before is not None:
                self.pool.engine_down(backend.name)
            if facts is not None:
                self.pool.engine_up(facts)
            self._decide()
        self._despair_when_alone()

    def _despair_when_alone(self) -> None:
        """Calls do not wait for ever for an engine: not at all when each is gone for good."""
        alone = not any(self._facts.values()) and len(self._facts) == len(self._backends)
        if not alone and self._despair is not None:
            self._despair.cancel()
            self._despair = None
        if alone and all(backend.gone() for backend in self._backends.values()):
            self._give_up()
        elif alone and self._despair is None and self._turns:
            self._despair = asyncio.get_running_loop().call_later(self._load_seconds, self._give_up)

    def _give_up(self) -> None:
        self._despair = None
        trouble = next(iter(self._backends.values())).trouble()
        for call_id, turn in self._turns.items():
            if not turn.done():
                self.pool.leave(call_id)
                turn.set_exception(trouble)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %r", self.name, error, exc_info=error)
