"""The books of the pool: what every engine's slots hold, who waits, what was measured. No I/O and no clock.

Events go in (a call arrives, ends, leaves; an engine comes or goes; a file is written), decisions come out. Whoever
carries the decisions out, on real engines or in a simulation, gets the same ones from the same events.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from statistics import median

from breakeven.box.cache_size import PromptDemand
from breakeven.box.forecast import Forecast, forecast
from breakeven.box.pool_state import Call, Copy, EngineView, Lease, PoolState, Slot
from breakeven.box.prefix import Prefix, common_blocks
from breakeven.box.rhythm import Rhythm
from breakeven.box.scheduler import (
    Decision,
    EndLease,
    Forget,
    Prefetch,
    Refuse,
    Rules,
    Start,
    decide,
    lease_after,
    next_look,
)
from breakeven.units import Seconds, Tokens

NEW_CHAIN_AFTER = 10.0
"""An agent that was silent for so many seconds wakes anew; its calls in between belong to one chain."""
ACTIVE_WITHIN = 3600.0
"""An agent that was silent for longer no longer counts among those whose prompts should be kept."""
REMEMBERED_PAUSES = 5
"""Of an agent, between steps; their median counts, since one of them may have been its sleep."""
REMEMBERED_AGENTS = 256
LEARNING = 0.3
"""Weight of the newest measurement in a running mean."""
LEAST_PREFILL, LEAST_DECODE = 64, 4
"""Fewer tokens than these measure the overhead, not the speed."""
REMEMBERED_COPIES = 256
"""Of an engine's own cache, the newest; what it keeps beyond these is found by it alone."""
CACHED_COPY_SECONDS = 0.02
SWAP_BYTES_PER_SECOND = 1e9
"""At which a prompt goes to an engine's memory and comes back, both ways together; a cautious figure."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of itself when it comes up.

    Attributes:
        slots: calls it serves at once.
        saves: whether slots can be saved to files and restored.
        cache_bytes: host memory in which it keeps evicted prompts by itself; ``None`` when unknown.
        kv_bytes_per_token: size of one token's keys and values; ``None`` when unknown.
        began: tells one life of it from the next.
        batch_tokens: of a prompt, computed at once; what llama-server takes where it is not known.
    """

    name: str
    slots: int
    saves: bool = False
    cache_bytes: int | None = None
    kv_bytes_per_token: int | None = None
    began: float = 0.0
    batch_tokens: Tokens = 2048


@dataclass(frozen=True, slots=True)
class Measured:
    """What an engine reports of a call it completed; ``None`` where it does not say."""

    computed: Tokens | None = None
    cached: Tokens | None = None
    generated: Tokens | None = None
    prefill_seconds: Seconds | None = None
    decode_seconds: Seconds | None = None


@dataclass(slots=True)
class _Agent:
    rhythm: Rhythm = field(default_factory=Rhythm)
    last_active: Seconds | None = None
    running: int = 0
    chain: str | None = None
    steps: int = 0
    usual_steps: int | None = None
    pauses: tuple[Seconds, ...] = ()
    last_prompt: Prefix = ()
    stable_blocks: int = 0
    tokens: Tokens = 0
    output_tokens: float | None = None


@dataclass(slots=True)
class _Engine:
    facts: EngineFacts
    view: EngineView
    cache: OrderedDict[Prefix, Copy] = field(default_factory=OrderedDict)


class Pool:
    """Keeps the books and asks the scheduler.

    Args:
        file_budget: bytes that KV files may take in all; 0 for no files.
    """

    def __init__(self, rules: Rules, *, file_budget: int = 0) -> None:
        self.rules = rules
        self._file_budget = file_budget
        self._engines: dict[str, _Engine] = {}
        self._measured: dict[str, EngineView] = {}
        self._slots: dict[tuple[str, int], Slot] = {}
        self._waiting: dict[int, Call] = {}
        self._running: dict[int, tuple[Call, tuple[str, int]]] = {}
        self._files: dict[tuple[str, str], Copy] = {}
        self._agents: OrderedDict[str, _Agent] = OrderedDict()
        self._at_once: int | None = None

    @property
    def slots(self) -> int:
        """Of the engine that has most; 0 while none is up."""
        return max((engine.facts.slots for engine in self._engines.values()), default=0)

    def serve_at_once(self, calls: int | None) -> None:
        """Serve no more than so many calls at once on each engine; those under way end as they began."""
        self._at_once = calls

    def engine_up(self, facts: EngineFacts) -> None:
        """An engine can take calls; its slots are empty."""
        view = self._measured.get(facts.name, EngineView(facts.name))
        self._engines[facts.name] = _Engine(facts, replace(view, saves=facts.saves and self._file_budget > 0))
        for number in range(facts.slots):
            self._slots[facts.name, number] = Slot(facts.name, number)

    def engine_down(self, name: str) -> None:
        """An engine is gone, with all that its memory held. Its files stay; its calls end one by one."""
        engine = self._engines.pop(name, None)
        if engine is not None:
            self._measured[name] = engine.view
        self._slots = {key: slot for key, slot in self._slots.items() if slot.engine != name}

    def arrive(self, call: Call, now: Seconds) -> bool:
        """A call enters the queue; says whether its agent has woken with it."""
        self._waiting[call.id] = call
        return not call.avoids and self._note_arrival(call, now)

    def leave(self, call_id: int) -> None:
        """A caller that waited has gone."""
        if (call := self._waiting.pop(call_id, None)) is not None:
            self._settle(call)

    def waits(self, call_id: int) -> bool:
        """Whether a call is in the queue."""
        return call_id in self._waiting

    def decide(self, now: Seconds) -> list[Decision]:
        """The decisions for now, already entered in the books: the caller must carry them out, in order."""
        decisions = decide(self.state(now), now, self.rules)
        for decision in decisions:
            self._enter(decision, now)
        return decisions

    def next_look(self, now: Seconds) -> Seconds | None:
        """When to decide again though nothing has happened."""
        return next_look(self.state(now), now, self.rules)

    def finish(self, call_id: int, now: Seconds, measured: Measured | None) -> None:
        """A call has ended; ``measured`` is ``None`` when it was not completed, and its slot then holds who knows what.

        A slot whose engine still works at an abandoned call is given back by `slot_free` instead, after this.
        """
        call, key = self._running.pop(call_id)
        self._settle(call, now)
        slot = self._slots.get(key)
        if measured is not None:
            self._learn(call, key[0], measured)
        if slot is None or slot.call != call_id:
            return
        if measured is None:
            self._slots[key] = replace(slot, holds=(), held_tokens=0, agent=None, stable_blocks=0, call=None)
            return
        tokens = slot.held_tokens
        if measured.computed is not None and measured.cached is not None:
            tokens = measured.computed + measured.cached
        self._slots[key] = replace(slot, held_tokens=tokens, call=None, lease=self._lease(call, now))

    def hold(self, engine: str, slot: int, call_id: int) -> None:
        """Keep a slot out of use: its engine has not yet noticed that a caller has gone."""
        if (found := self._slots.get((engine, slot))) is not None and found.call is None:
            self._slots[engine, slot] = replace(found, call=call_id)

    def slot_free(self, engine: str, slot: int, call_id: int) -> None:
        """A slot that was held can be used again."""
        if (found := self._slots.get((engine, slot))) is not None and found.call == call_id:
            self._slots[engine, slot] = replace(found, call=None)

    def emptied(self, engine: str, slot: int, call_id: int) -> None:
        """What a held slot was to hold is not there."""
        if (found := self._slots.get((engine, slot))) is not None and found.call == call_id:
            self._slots[engine, slot] = Slot(engine, slot, call=call_id)

    def held(self, engine: str, slot: int) -> Slot | None:
        """What a slot holds now; ``None`` when its engine is gone."""
        return self._slots.get((engine, slot))

    def saved(self, copy: Copy) -> Copy | None:
        """A KV file was written; returns the one it replaces, for the same agent and engine."""
        before = self._files.get((copy.engine, copy.agent))
        self._files[copy.engine, copy.agent] = copy
        return before

    def lost(self, copy: Copy) -> None:
        """A KV file cannot be restored."""
        if self._files.get((copy.engine, copy.agent)) == copy:
            del self._files[copy.engine, copy.agent]

    def seconds_between_signs(self, engine: str) -> Seconds | None:
        """The longest that a call usually has to wait for the next sign of life while it is prefilled or generated,
        with every slot at work; ``None`` while the engine is not measured, or gone."""
        if (found := self._engines.get(engine)) is None:
            return None
        view, facts = found.view, found.facts
        if view.prefill is None or view.decode is None:
            return None
        return facts.slots * max(view.prefill_seconds(facts.batch_tokens), view.decode_seconds(1))

    def forecast(self, call: Call, now: Seconds) -> Forecast | None:
        """How long a call would take if it entered now; ``None`` while nothing is measured."""
        return forecast(self.state(now), call, now, self.rules)

    def latest_prompt(self, agent: str) -> Prefix:
        """How an agent's latest run began."""
        known = self._agents.get(agent)
        return () if known is None else known.last_prompt

    def expected_output(self, agent: str, limit: Tokens | None) -> Tokens:
        """Tokens that an agent's next answer will probably have."""
        known = self._agents.get(agent)
        usual = known.output_tokens if known is not None and known.output_tokens is not None else 256.0
        return round(usual) if limit is None else min(round(usual), limit)

    def state(self, now: Seconds) -> PoolState:
        """The books as the scheduler reads them."""
        cached = (copy for engine in self._engines.values() for copy in engine.cache.values())
        wakes = {
            name: wake for name, agent in self._agents.items() if (wake := agent.rhythm.next_wake(now)) is not None
        }
        overflows = self._overflows(now)
        return PoolState(
            engines={name: self._view(engine, overflows=overflows) for name, engine in self._engines.items()},
            slots=tuple(self._slots[key] for key in sorted(self._slots)),
            waiting=tuple(self._waiting.values()),
            copies=(*self._files.values(), *cached),
            wakes=wakes,
            overflows=overflows,
            file_budget=self._file_budget,
            at_once=self._at_once,
        )

    def _view(self, engine: _Engine, *, overflows: bool) -> EngineView:
        per_token = engine.facts.kv_bytes_per_token
        if overflows or not engine.facts.cache_bytes or not per_token:
            return engine.view
        return replace(engine.view, swap=per_token / SWAP_BYTES_PER_SECOND)

    def demand(self, now: Seconds) -> PromptDemand:
        """The prompts of the last hour's agents that came back at least once."""
        prompts = [agent.tokens for agent in self._active(now) if len(agent.rhythm.wakes) > 1]
        return PromptDemand(len(prompts), sum(prompts))

    def _active(self, now: Seconds) -> Iterator[_Agent]:
        since = now - ACTIVE_WITHIN
        return (a for a in self._agents.values() if a.last_active is not None and a.last_active >= since)

    def _overflows(self, now: Seconds) -> bool:
        """Whether the agents' prompts together exceed what the engines keep in memory by themselves."""
        room = 0
        bytes_per_token = 0
        for engine in self._engines.values():
            if engine.facts.cache_bytes is None or engine.facts.kv_bytes_per_token is None:
                return False
            room += engine.facts.cache_bytes
            bytes_per_token = max(bytes_per_token, engine.facts.kv_bytes_per_token)
        return sum(agent.tokens for agent in self._active(now)) * bytes_per_token > room

    def _note_arrival(self, call: Call, now: Seconds) -> bool:
        agent = self._agents.setdefault(call.agent, _Agent())
        self._agents.move_to_end(call.agent)
        if len(self._agents) > REMEMBERED_AGENTS:
            self._agents.popitem(last=False)
        silence = inf if agent.last_active is None else now - agent.last_active
        wakes = not agent.running and (silence >= NEW_CHAIN_AFTER or call.chain != agent.chain)
        if wakes:
            agent.rhythm = agent.rhythm.woke(now)
            agent.usual_steps, agent.steps = agent.steps or None, 0
            shared = common_blocks(agent.last_prompt, call.prompt.prefix)
            agent.stable_blocks = min(shared, len(call.prompt.prefix) - 1) if shared else call.prompt.head_blocks
            agent.last_prompt = call.prompt.prefix
        elif not agent.running:
            agent.pauses = (*agent.pauses, silence)[-REMEMBERED_PAUSES:]
        agent.chain = call.chain
        agent.steps += 1
        agent.running += 1
        agent.last_active = now
        agent.tokens = max(call.prompt.tokens, agent.tokens if call.prompt.prefix[:1] == agent.last_prompt[:1] else 0)
        return wakes

    def _settle(self, call: Call, now: Seconds | None = None) -> None:
        """An agent has one call less under way."""
        if (agent := self._agents.get(call.agent)) is not None:
            agent.running = max(0, agent.running - 1)
            agent.last_active = now if now is not None else agent.last_active

    def _lease(self, call: Call, now: Seconds) -> Lease | None:
        agent = self._agents.get(call.agent, _Agent())
        last = agent.usual_steps is not None and agent.steps >= agent.usual_steps
        pause = median(agent.pauses) if agent.pauses else None
        return lease_after(call, now, self.rules, pause, last=last)

    def _enter(self, decision: Decision, now: Seconds) -> None:
        match decision:
            case Start():
                self._enter_start(decision, now)
            case Refuse():
                self.leave(decision.call)
            case EndLease():
                key = decision.engine, decision.slot
                self._slots[key] = replace(self._slots[key], lease=None)
            case Prefetch(copy=copy):
                key = decision.engine, decision.slot
                self._slots[key] = Slot(
                    *key,
                    holds=copy.prefix,
                    held_tokens=copy.size // (self._engines[copy.engine].facts.kv_bytes_per_token or copy.size or 1),
                    agent=copy.agent,
                    stable_blocks=self._stable_blocks(copy.agent),
                )
            case Forget(copy=copy):
                self.lost(copy)

    def _enter_start(self, start: Start, now: Seconds) -> None:
        key = start.engine, start.slot
        slot, call = self._slots[key], self._waiting.pop(start.call)
        engine = self._engines[start.engine]
        if start.restore is None:
            self._keep_in_cache(slot, call.prompt.prefix)
        alike = 2 * call.prompt.shared_tokens(slot.holds) >= max(1, call.prompt.tokens)
        prefill = engine.view.prefill_seconds(call.prompt.tokens - start.reused)
        self._slots[key] = Slot(
            *key,
            holds=call.prompt.prefix,
            held_tokens=call.prompt.tokens,
            agent=call.agent,
            stable_blocks=self._stable_blocks(call.agent),
            call=call.id,
            busy_until=now + prefill + engine.view.decode_seconds(call.output_tokens),
            run_since=slot.run_since if alike else now,
        )
        self._running[call.id] = call, key

    def _stable_blocks(self, agent: str) -> int:
        return self._agents[agent].stable_blocks if agent in self._agents else 0

    def _keep_in_cache(self, slot: Slot, coming: Prefix) -> None:
        """Follow what the engine does by itself: a prompt that leaves its slot goes to its cache, the oldest go."""
        engine = self._engines[slot.engine]
        room, bytes_per_token = engine.facts.cache_bytes, engine.facts.kv_bytes_per_token
        for prefix in [p for p in engine.cache if common_blocks(p, coming) * 2 > len(p)]:
            del engine.cache[prefix]  # it moves into the slot
        if not room or not bytes_per_token or not slot.holds or slot.agent is None:
            return
        if common_blocks(slot.holds, coming) * 2 > len(slot.holds):
            return
        size = slot.held_tokens * bytes_per_token
        engine.cache[slot.holds] = Copy(slot.engine, slot.holds, slot.agent, None, size, CACHED_COPY_SECONDS)
        while len(engine.cache) > REMEMBERED_COPIES or sum(copy.size for copy in engine.cache.values()) > room:
            engine.cache.popitem(last=False)

    def _learn(self, call: Call, engine_name: str, measured: Measured) -> None:
        if (agent := self._agents.get(call.agent)) is not None and measured.generated is not None:
            agent.output_tokens = _mean(agent.output_tokens, measured.generated)
        if (engine := self._engines.get(engine_name)) is None:
            return
        view = engine.view
        if measured.computed and measured.computed >= LEAST_PREFILL and measured.prefill_seconds:
            view = replace(view, prefill=_mean(view.prefill, measured.computed / measured.prefill_seconds))
        if measured.generated and measured.generated >= LEAST_DECODE and measured.decode_seconds:
            view = replace(view, decode=_mean(view.decode, measured.generated / measured.decode_seconds))
        engine.view = view


def _mean(so_far: float | None, newest: float) -> float:
    return newest if so_far is None else so_far + LEARNING * (newest - so_far)
