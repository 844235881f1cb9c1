"""Which call runs where, and when: a pure function from the pool's state and the time to decisions.

The rules, in the order in which they apply:

 1. Deadlines. A call whose answer could not be complete in time even if it started now is refused.
 2. Leases. A slot that ended a chain's step is kept for the next one until the lease ends. While others wait it is
    kept for twice the pause that the agent usually makes between steps, ``tool_wait_seconds`` at most, not at all after
    its usual last step, and no longer than computing the prompt anew would take: losing it costs no more than having
    held it. While no other slot of the engine is at work, so that holding idles all of it, no longer than having the
    prompt back from the engine's memory takes, where that keeps it. A more urgent call may take it at once when no
    other slot is free.
 3. Turns. A call's turn is its arrival plus its priority's handicap. So priorities age: a batch call is overtaken only
    by calls that arrive within its handicap after it.
 4. Overdue. A call that has waited ``patience`` beyond its turn is overdue; overdue calls go by turn and before all
    others. Only a run may still come first: calls no less urgent that begin like what the slot holds, until the run
    has lasted ``run_seconds``. This is what bounds every wait.
 5. Affinity. Of the calls within ``window`` of the next turn the one goes first that saves most prefill in a free slot:
    ABCABC becomes AABBCC.
 6. Waiting for a slot. For up to ``patience`` a call waits for the busy slot that holds its beginning when that is
    quicker than computing it elsewhere. Slots of one engine share its speed, so computing the same beginning twice at
    once seldom is.
 7. Eviction. Among the slots that would start a call equally soon, the one is taken whose agent is expected last.
    What would be lost, and what several waiting calls begin with, is saved to a file first; over the budget, files go
    by the same order. A prompt that leaves its slot for another call goes to the engine's own cache; one that a file is
    restored over does not.
 8. Prefetch. While nothing waits, what an agent will need within ``prefetch_seconds`` is restored into an idle slot
    whose own agent comes later, unless the engine's own cache has it.
 9. Strain. Where the machine suffers under calls at once, no more than ``at_once`` are started on an engine; slots
    beyond that keep what they hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias

from breakeven.box.pool_state import Call, Copy, EngineView, Lease, PoolState, Priority, Reuse, Slot, reuse
from breakeven.box.prefix import common_blocks
from breakeven.units import Seconds

SHORTEST_PAUSE = 0.05
"""Seconds that a step needs at least to come back."""
EQUALLY_SOON = 0.1
"""Starts within a tenth of each other, or of a second, count as equally soon."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The constants of the rules, in seconds.

    Attributes:
        handicaps: by which each priority's turn comes later than its arrival.
        lease_seconds: for how long a slot is kept for a chain while nobody else waits.
        tool_wait_seconds: the most while others wait.
        patience, run_seconds, window, prefetch_seconds: see rules 4, 4, 5 and 8.
    """

    handicaps: Mapping[Priority, Seconds] = field(
        default_factory=lambda: {Priority.INTERACTIVE: 0.0, Priority.AGENT: 15.0, Priority.BATCH: 600.0}
    )
    lease_seconds: Seconds = 10.0
    tool_wait_seconds: Seconds = 1.0
    patience: Seconds = 60.0
    run_seconds: Seconds = 120.0
    window: Seconds = 10.0
    prefetch_seconds: Seconds = 30.0

    def turn(self, call: Call) -> Seconds:
        """When it is a call's turn."""
        return call.arrived + self.handicaps[call.priority]

    def overdue_at(self, call: Call) -> Seconds:
        """From when a call goes before all that are not overdue."""
        return self.turn(call) + self.patience


@dataclass(frozen=True, slots=True)
class Start:
    """Serve a call in a slot.

    Attributes:
        save: the slot as it is, if what it holds is to be saved first.
        restore: restore this file into the slot before, after the saving.
        reused: tokens of the prompt that need not be computed then.
    """

    call: int
    engine: str
    slot: int
    save: Slot | None
    restore: Copy | None
    reused: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse a call: its answer would take ``needed`` seconds and only ``left`` are left."""

    call: int
    needed: Seconds
    left: Seconds


@dataclass(frozen=True, slots=True)
class EndLease:
    """Keep a slot no longer."""

    engine: str
    slot: int


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Restore a file into an idle slot; ``save`` is the slot as it is, if what it holds is to be saved first."""

    engine: str
    slot: int
    copy: Copy
    save: Slot | None


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete a KV file."""

    copy: Copy


Decision: TypeAlias = Start | Refuse | EndLease | Prefetch | Forget


def decide(state: PoolState, now: Seconds, rules: Rules) -> list[Decision]:
    """What to do now. The same state and time always give the same decisions, in the order to carry them out."""
    return list(_Deciding(state, now, rules).decisions())


def lease_after(call: Call, now: Seconds, rules: Rules, pause: Seconds | None, *, last: bool) -> Lease | None:
    """The lease on a slot whose call has just been answered.

    Args:
        pause: what the agent usually takes between steps; ``None`` while unknown.
        last: whether its chains usually end with this step.
    """
    if call.chain is None:
        return None
    usual = inf if pause is None else max(SHORTEST_PAUSE, 2 * pause)
    kept = 0.0 if last else min(usual, rules.tool_wait_seconds)
    until = now + rules.lease_seconds
    return Lease(call.chain, call.priority, now, min(until, now + kept), until)


def next_look(state: PoolState, now: Seconds, rules: Rules) -> Seconds | None:
    """When time alone may change what `decide` says; ``None`` when only an event can."""
    moments = [slot.lease.until for slot in state.slots if slot.lease is not None]
    saved = {copy.agent for copy in state.copies if copy.file is not None}
    moments += [state.wakes[agent] - rules.prefetch_seconds for agent in saved if agent in state.wakes]
    if state.waiting:
        moments += [_kept_until(slot, state.engines, state.slots) for slot in state.slots if slot.lease is not None]
        moments.append(now + 1.0)
    return min((moment for moment in moments if moment > now), default=None)


class _Deciding:
    """One decision under way: the state as the decisions so far will have left it."""

    def __init__(self, state: PoolState, now: Seconds, rules: Rules) -> None:
        self.state, self.now, self.rules = state, now, rules
        self.waiting = sorted(state.waiting, key=lambda call: (rules.turn(call), call.id))
        self.slots = {slot.key: slot for slot in state.slots if slot.engine in state.engines}
        self.restored: set[Copy] = set()

    def decisions(self) -> Iterator[Decision]:
        yield from self._refusals()
        while (start := self._next_start()) is not None:
            yield start
        yield from self._leases_ended()
        if not self.waiting:
            yield from self._prefetches()
        yield from self._forgotten()

    def _refusals(self) -> Iterator[Decision]:  # rule 1
        for call in list(self.waiting):
            if call.deadline is None or call.avoids:
                continue
            needed = min((self._at_best(call, slot) for slot in self._open_to(call)), default=0.0)
            if self.now + needed > call.deadline:
                self.waiting.remove(call)
                yield Refuse(call.id, needed, max(0.0, call.deadline - self.now))

    def _at_best(self, call: Call, slot: Slot) -> Seconds:
        engine = self._engine(slot)
        if engine.prefill is None or engine.decode is None:
            return 0.0
        return self._reuse(call, slot).seconds + engine.decode_seconds(call.output_tokens)

    def _next_start(self) -> Start | None:
        idle = [slot for slot in self.slots.values() if slot.call is None and not self._is_full(slot.engine)]
        if not idle or not self.waiting:
            return None
        free = [slot for slot in idle if not self._leased(slot)]
        return self._leaseholder(idle, free) or self._overdue(free) or self._by_affinity(free)

    def _is_full(self, engine: str) -> bool:  # rule 9
        most = self.state.at_once
        return most is not None and self._busy(engine) >= most

    def _busy(self, engine: str) -> int:
        return sum(slot.call is not None and slot.engine == engine for slot in self.slots.values())

    def _leased(self, slot: Slot) -> bool:  # rule 2
        lease = slot.lease
        if lease is None or self.now >= lease.until:
            return False
        if not any(self._may_use(call, slot) and call.chain != lease.chain for call in self.waiting):
            return True
        if self.now >= _kept_until(slot, self.state.engines, self.slots.values()):
            return False
        overdue = any(self._may_use(call, slot) for call in self.waiting if self.now >= self.rules.overdue_at(call))
        return not (overdue and self._run_is_over(slot)) and not self._more_urgent(lease, slot)

    def _more_urgent(self, lease: Lease, slot: Slot) -> bool:
        if any(other.call is None and other.lease is None for other in self.slots.values()):
            return False
        return any(call.priority < lease.priority and self._may_use(call, slot) for call in self.waiting)

    def _leaseholder(self, idle: list[Slot], free: list[Slot]) -> Start | None:
        for slot in idle:
            if slot.lease is not None and slot not in free:
                for call in self.waiting:
                    if call.chain == slot.lease.chain and self._may_use(call, slot):
                        return self._start(call, slot)
        return None

    def _overdue(self, free: list[Slot]) -> Start | None:  # rule 4
        for call in self.waiting:
            if self.now < self.rules.overdue_at(call):
                continue
            open_slots = [slot for slot in free if self._may_use(call, slot)]
            riders = {slot.key: self._rider(slot, call) for slot in open_slots}
            unclaimed = [slot for slot in open_slots if riders[slot.key] is None]
            if unclaimed:
                return self._start(call, self._best_slot(call, unclaimed))
            for slot in open_slots:
                if (rider := riders[slot.key]) is not None:
                    return self._start(rider, slot)
        return None

    def _rider(self, slot: Slot, overdue: Call) -> Call | None:
        """Who continues a slot's run before an overdue call may have the slot."""
        if self._run_is_over(slot) or _begins_like(overdue, slot):
            return None
        riders = (call for call in self.waiting if call.priority <= overdue.priority and _begins_like(call, slot))
        return next((call for call in riders if self._may_use(call, slot)), None)

    def _run_is_over(self, slot: Slot) -> bool:
        return self.now - slot.run_since >= self.rules.run_seconds

    def _by_affinity(self, free: list[Slot]) -> Start | None:  # rules 5 and 6
        best: tuple[tuple[float, float, int], Call, Slot] | None = None
        last_turn = inf
        for call in self.waiting:
            turn = self.rules.turn(call)
            if turn > last_turn:
                break
            open_slots = [slot for slot in free if self._may_use(call, slot)]
            if not open_slots:
                continue
            last_turn = min(last_turn, turn + self.rules.window)
            slot = self._best_slot(call, open_slots)
            seconds = self._seconds_in(call, slot)
            patient = self.now < call.arrived + self.rules.patience
            if patient and seconds > self._seconds_until_another_has_it(call):
                continue
            saved = self._engine(slot).prefill_seconds(call.prompt.tokens) - self._reuse(call, slot).seconds
            rank = (-saved, turn, call.id)
            if best is None or rank < best[0]:
                best = rank, call, slot
        return None if best is None else self._start(best[1], best[2])

    def _seconds_in(self, call: Call, slot: Slot) -> Seconds:
        """Time to the end of prefill in an idle slot, its engine's speed shared with the slots at work."""
        return self._reuse(call, slot).seconds * (1 + self._busy(slot.engine))

    def _seconds_until_another_has_it(self, call: Call) -> Seconds:
        """Time to the end of prefill in the best slot that is not free."""
        waits = []
        for slot in self._open_to(call):
            left = slot.busy_until - self.now
            until_free = left if left > 0 else -left  # one that is late will probably be late as long again
            if slot.call is None:
                if slot.lease is None:
                    continue
                until_free = _kept_until(slot, self.state.engines, self.slots.values()) - self.now
            shared = call.prompt.shared_tokens(slot.holds)
            if shared:
                waits.append(until_free + self._engine(slot).prefill_seconds(call.prompt.tokens - shared))
        return min(waits, default=inf)

    def _best_slot(self, call: Call, slots: list[Slot]) -> Slot:  # rule 7
        seconds = {slot.key: self._seconds_in(call, slot) for slot in slots}
        soonest = min(seconds.values())
        soon = [slot for slot in slots if seconds[slot.key] <= soonest + max(EQUALLY_SOON, soonest * EQUALLY_SOON)]
        return min(soon, key=lambda slot: (-self._wake(slot.agent), seconds[slot.key], slot.key))

    def _start(self, call: Call, slot: Slot) -> Start:
        found = self._reuse(call, slot)
        self.waiting.remove(call)
        restore = found.copy if found.copy is not None and found.copy.file is not None else None
        lost = self._would_lose(slot, call, restored_over=restore is not None)
        start = Start(
            call=call.id,
            engine=slot.engine,
            slot=slot.number,
            save=slot if lost or self._others_begin_like(slot) else None,
            restore=restore,
            reused=found.tokens,
        )
        if found.copy is not None:
            self.restored.add(found.copy)
        engine = self._engine(slot)
        self.slots[slot.key] = replace(
            slot,
            call=call.id,
            holds=call.prompt.prefix,
            held_tokens=call.prompt.tokens,
            agent=call.agent,
            busy_until=self.now + found.seconds + engine.decode_seconds(call.output_tokens),
            run_since=slot.run_since if _begins_like(call, slot) else self.now,
            lease=None,
        )
        return start

    def _would_lose(self, slot: Slot, call: Call | None, *, restored_over: bool) -> bool:
        """Whether something worth keeping leaves the slot and neither a file nor the engine's cache will have it."""
        if not (self.state.overflows or restored_over) or not (self._engine(slot).saves and slot.stable_blocks):
            return False
        kept = 0 if call is None else common_blocks(call.prompt.prefix, slot.holds)
        return 2 * kept < slot.stable_blocks and not self._on_file(slot, slot.stable_blocks)

    def _others_begin_like(self, slot: Slot) -> bool:
        """Whether other slots will be needed for calls that begin like what this one holds."""
        if not self._engine(slot).saves:
            return False
        others = [other for other in self.slots.values() if other.engine == slot.engine and other.key != slot.key]
        alike = [call for call in self.waiting if self._may_use(call, slot) and _begins_like(call, slot)]
        if not alike or any(_begins_like(alike[0], other) for other in others) or not others:
            return False
        return not self._on_file(slot, common_blocks(alike[0].prompt.prefix, slot.holds))

    def _on_file(self, slot: Slot, blocks: int) -> bool:
        return any(
            copy.file is not None and copy.engine == slot.engine and common_blocks(copy.prefix, slot.holds) >= blocks
            for copy in self.state.copies
        )

    def _leases_ended(self) -> Iterator[Decision]:
        for slot in list(self.slots.values()):
            if slot.call is None and slot.lease is not None and not self._leased(slot):
                self.slots[slot.key] = replace(slot, lease=None)
                yield EndLease(slot.engine, slot.number)

    def _prefetches(self) -> Iterator[Decision]:  # rule 8
        due = [copy for copy in self.state.copies if copy.file is not None and copy.engine in self.state.engines]
        for copy in sorted(due, key=lambda copy: (self._wake(copy.agent), copy.agent)):
            wake = self._wake(copy.agent)
            slots = [slot for slot in self.slots.values() if slot.engine == copy.engine]
            if wake - self.now > self.rules.prefetch_seconds:
                return
            at_hand = [slot.holds for slot in slots]
            at_hand += [
                other.prefix for other in self.state.copies if other.file is None and other.engine == copy.engine
            ]
            if any(common_blocks(held, copy.prefix) * 2 > len(copy.prefix) for held in at_hand):
                continue
            later = [s for s in slots if s.call is None and s.lease is None and self._wake(s.agent) > wake]
            if later:
                slot = max(later, key=lambda slot: (self._wake(slot.agent), -slot.number))
                self.restored.add(copy)
                lost = self._would_lose(slot, None, restored_over=True)
                yield Prefetch(slot.engine, slot.number, copy, slot if lost else None)
                self.slots[slot.key] = replace(slot, holds=copy.prefix, agent=copy.agent)

    def _forgotten(self) -> Iterator[Decision]:  # rule 7
        files = [copy for copy in self.state.copies if copy.file is not None]
        excess = sum(copy.size for copy in files) - self.state.file_budget
        for copy in sorted(files, key=lambda copy: (-self._wake(copy.agent), copy.agent)):
            if excess <= 0:
                return
            if copy not in self.restored:
                excess -= copy.size
                yield Forget(copy)

    def _wake(self, agent: str | None) -> Seconds:
        return inf if agent is None else self.state.wakes.get(agent, inf)

    def _reuse(self, call: Call, slot: Slot) -> Reuse:
        return reuse(call, slot, self._engine(slot), self.state.copies)

    def _engine(self, slot: Slot) -> EngineView:
        return self.state.engines[slot.engine]

    def _may_use(self, call: Call, slot: Slot) -> bool:
        return self.state.may_serve(slot.engine, call)

    def _open_to(self, call: Call) -> list[Slot]:
        return [slot for slot in self.slots.values() if self._may_use(call, slot)]


def _kept_until(slot: Slot, engines: Mapping[str, EngineView], slots: Collection[Slot]) -> Seconds:
    """Until when a leased slot is kept against others that wait."""
    engine = engines.get(slot.engine)
    if slot.lease is None or engine is None:
        return inf
    idles = not any(other.call is not None and other.engine == slot.engine for other in slots)
    lost = engine.seconds_to_have_back(slot.held_tokens) if idles else engine.prefill_seconds(slot.held_tokens)
    return min(slot.lease.against_others_until, slot.lease.since + lost)


def _begins_like(call: Call, slot: Slot) -> bool:
    """Whether at least half of a call's prompt is what the slot holds."""
    return 2 * call.prompt.shared_tokens(slot.holds) >= max(1, call.prompt.tokens)
