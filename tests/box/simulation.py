"""A pool of simulated engines: the real books and the real scheduler, time that passes in an instant."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from zlib import crc32

from breakeven.box.pool import EngineFacts, Measured, Pool
from breakeven.box.pool_state import Call, Copy, Priority, Slot
from breakeven.box.prefix import Prefix, Prompt, common_blocks
from breakeven.box.scheduler import Decision, Forget, Prefetch, Refuse, Rules, Start

BLOCK_TOKENS = 64
PREFILL, DECODE = 200.0, 50.0


@dataclass(frozen=True)
class Step:
    """A call to come: of a chain's steps the first comes at ``at``, each other ``think`` after the one before it."""

    at: float
    agent: str = "a"
    system_blocks: int = 20
    tail_blocks: int = 1
    output: int = 10
    steps: int = 1
    think: float = 0.1
    priority: Priority = Priority.AGENT
    deadline: float | None = None


@dataclass
class Served:
    """How a call fared."""

    call: Call
    started: float
    ended: float
    engine: str
    slot: int
    computed: int

    @property
    def waited(self) -> float:
        return self.started - self.call.arrived


@dataclass
class Simulation:
    """Runs a pool until all is served."""

    pool: Pool
    engines: Sequence[EngineFacts] = (EngineFacts("one", 2),)
    served: dict[int, Served] = field(default_factory=dict)
    refused: dict[int, Refuse] = field(default_factory=dict)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, object]] = []
        self._order = count()
        self._ids = count(1)
        self._held: dict[tuple[str, int], Prefix] = {}
        self._running: dict[tuple[str, int], int] = {}
        self._files: set[str] = set()
        self._cached: set[tuple[str, Prefix]] = set()
        self._keeps = {facts.name: bool(facts.cache_bytes) for facts in self.engines}
        self._left: dict[int, tuple[Step, int, Prefix]] = {}
        self._look = 0.0
        for facts in self.engines:
            self.pool.engine_up(facts)

    def run(self, steps: Sequence[Step]) -> Simulation:
        for step in steps:
            self.at(step.at, (step, 1, ()))
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            self._happen(event)
            self._decide()
        return self

    def at(self, when: float, event: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _happen(self, event: object) -> None:
        match event:
            case (Step() as step, int(number), tuple(before)):
                self._arrive(step, number, before)
            case Served() as served:
                self._end(served)
            case ("down", str(name)):
                self._engine_leaves(name)
            case ("up", EngineFacts() as facts):
                self.pool.engine_up(facts)

    def _arrive(self, step: Step, number: int, before: Prefix) -> None:
        system = tuple(crc32(f"{step.agent} {block}".encode()) for block in range(step.system_blocks))
        call_id = next(self._ids)
        tail = tuple(-call_id * 1000 - block for block in range(step.tail_blocks))
        prefix = (*(before or system), *tail)
        call = Call(
            id=call_id,
            agent=step.agent,
            prompt=Prompt(prefix, len(prefix) * BLOCK_TOKENS, step.system_blocks),
            arrived=self.now,
            priority=step.priority,
            chain=f"{step.agent}@{step.at}" if step.steps > 1 else None,
            deadline=None if step.deadline is None else self.now + step.deadline,
            output_tokens=step.output,
        )
        self._left[call_id] = step, number, prefix
        self.pool.arrive(call, self.now)

    def _decide(self) -> None:
        calls = {call.id: call for call in self.pool.state(self.now).waiting}
        for decision in self.pool.decide(self.now):
            self.decisions.append((self.now, decision))
            match decision:
                case Start():
                    self._start(decision, calls[decision.call])
                case Refuse():
                    self.refused[decision.call] = decision
                case Prefetch(copy=copy):
                    assert copy.file in self._files
                    self._held[decision.engine, decision.slot] = copy.prefix
                case Forget(copy=copy):
                    self._files.discard(copy.file or "")
        look = self.pool.next_look(self.now)
        if (
            look is not None
            and (self._events or self.pool.state(self.now).waiting)
            and not self.now < self._look <= look
        ):
            self._look = look
            self.at(look, None)

    def _start(self, start: Start, call: Call) -> None:
        key = start.engine, start.slot
        assert key not in self._running, "a slot was given to two calls"
        held = self._held.get(key, ())
        if start.save is not None:
            assert start.save.holds == held
            self._save(start.save)
        if start.restore is not None:
            assert start.restore.file in self._files
            held = start.restore.prefix
        if self._keeps.get(start.engine):
            self._cached.add((start.engine, held))
        found = [prefix for engine, prefix in self._cached if engine == start.engine]
        shared = max(common_blocks(call.prompt.prefix, prefix) for prefix in (held, *found))
        computed = (len(call.prompt.prefix) - shared) * BLOCK_TOKENS
        self._held[key] = call.prompt.prefix
        self._running[key] = call.id
        seconds = computed / PREFILL + call.output_tokens / DECODE
        self.at(self.now + seconds, Served(call, self.now, self.now + seconds, *key, computed))

    def _save(self, slot: Slot) -> None:
        assert slot.agent is not None
        size = len(slot.holds) * BLOCK_TOKENS * 1000
        copy = Copy(slot.engine, slot.holds, slot.agent, f"{slot.agent}-{len(self.decisions)}", size, 0.02)
        self._files.add(copy.file or "")
        if (replaced := self.pool.saved(copy)) is not None:
            self._files.discard(replaced.file or "")

    def _end(self, served: Served) -> None:
        key = served.engine, served.slot
        if self._running.get(key) != served.call.id:
            return
        del self._running[key]
        cached = served.call.prompt.tokens - served.computed
        prefill = served.computed / PREFILL
        measured = Measured(served.computed, cached, served.call.output_tokens, prefill, served.ended - served.started)
        measured = replace(measured, decode_seconds=served.call.output_tokens / DECODE)
        self.pool.finish(served.call.id, self.now, measured)
        self.served[served.call.id] = served
        step, number, prefix = self._left[served.call.id]
        if number < step.steps:
            self.at(self.now + step.think, (step, number + 1, prefix))

    def _engine_leaves(self, name: str) -> None:
        self.pool.engine_down(name)
        self._held = {key: held for key, held in self._held.items() if key[0] != name}
        for key, call_id in list(self._running.items()):
            if key[0] == name:
                del self._running[key]
                call, _ = self.pool._running[call_id]
                self.pool.finish(call_id, self.now, None)
                self.pool.arrive(replace(call, avoids=call.avoids | {name}), self.now)

    @property
    def computed(self) -> int:
        """Prompt tokens computed in all."""
        return sum(served.computed for served in self.served.values())

    def order(self) -> str:
        """The agents in order of their starts."""
        return "".join(s.call.agent for s in sorted(self.served.values(), key=lambda s: (s.started, s.call.id)))


def simulate(
    steps: Sequence[Step], *, rules: Rules | None = None, file_budget: int = 0, engines: Sequence[EngineFacts] = ()
) -> Simulation:
    """Serve these calls to their end."""
    pool = Pool(rules or Rules(), file_budget=file_budget)
    return Simulation(pool, engines or (EngineFacts("one", 2),)).run(steps)
