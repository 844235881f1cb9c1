"""Calls run through an engine that batches continuously, step by step: who waits, what is computed, how long it takes.

The rules are llama.cpp's (``update_slots`` and ``get_available_slot`` of its server):

1. A call takes the free slot that holds the longest beginning of its prompt, if that is more than a tenth of it, else
   the slot that has been free the longest. Calls wait in the order of their arrival.
2. What a slot held is put into host memory when the new prompt shares less than half of it, and a prompt kept there
   that fits better is taken back. A held prompt is in one place at a time.
3. One token at least is computed, even of a prompt that is held whole.
4. A step takes one token of every answer under way and fills up with prompt tokens, slot by slot in their order, up to
   the batch. So prompts are computed one after the other, and answers all but stand still meanwhile. A step is cut
   into pieces with as many tokens of each sequence, so that the answers' tokens pass over the weights by themselves.
5. The step that ends a prompt yields the first token of its answer.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.economics.step_times import StepTimes
from breakeven.units import Seconds, Tokens

SIMILAR_SHARE = 0.1
"""Share of a prompt that a slot must hold to be chosen for it (``slot_prompt_similarity``)."""
UNKNOWN_TOKEN = -1
"""Stands for a generated token, which no prompt is taken to share."""
KEPT_SHARE = 0.5
"""Share of what a slot holds below which it is saved before being overwritten."""


LEAST_SHARE = 0.25
"""Share of a kept prompt that must be of use for it to be taken back: the rest of it is lost."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A call: the token ids of its whole prompt, template included, and the tokens of its answer."""

    prompt: tuple[int, ...]
    output_tokens: Tokens

    def __post_init__(self) -> None:
        require_positive("prompt", len(self.prompt))
        require_positive("output_tokens", self.output_tokens)


@dataclass(frozen=True, slots=True)
class CallServed:
    """What became of a call; times from the start of the run.

    Attributes:
        caller: which caller sent it.
        computed_tokens: of its prompt; the rest was held.
    """

    caller: int
    sent_at: Seconds
    started_at: Seconds
    first_token_at: Seconds
    ended_at: Seconds
    computed_tokens: Tokens


@dataclass(frozen=True, slots=True)
class HeldPrompts:
    """Prompts in the KV cache, slot by slot, and in host memory, oldest first."""

    slots: tuple[tuple[int, ...], ...]
    host: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class _Slot:
    held: tuple[int, ...] = ()
    free_since: float = -math.inf
    call: BatchCall | None = None
    caller: int = 0
    sent_at: float = 0.0
    started_at: float = 0.0
    first_token_at: float = 0.0
    found: int = 0
    position: int = 0
    left: int = 0

    @property
    def prefilling(self) -> bool:
        return self.call is not None and self.position < len(self.call.prompt)

    @property
    def decoding(self) -> bool:
        return self.call is not None and not self.prefilling


@dataclass(slots=True)
class _Engine:
    times: StepTimes
    slots: list[_Slot]
    batch_tokens: int
    host_tokens: float
    now: float = 0.0
    host: deque[tuple[int, ...]] = field(default_factory=deque)

    @property
    def busy(self) -> bool:
        return any(slot.call is not None for slot in self.slots)

    @property
    def has_room(self) -> bool:
        return any(slot.call is None for slot in self.slots)

    def admit(self, call: BatchCall, caller: int, sent_at: float) -> None:
        """Rules 1 to 3."""
        free = [slot for slot in self.slots if slot.call is None]
        shared = [common_prefix(slot.held, call.prompt) for slot in free]
        best = max(range(len(free)), key=shared.__getitem__)
        if shared[best] > SIMILAR_SHARE * len(call.prompt):
            slot, keep = free[best], shared[best] / len(free[best].held) >= KEPT_SHARE
        else:
            slot, keep = min(free, key=lambda candidate: candidate.free_since), False
        if not keep:
            self._exchange(slot, call.prompt)
        found = min(common_prefix(slot.held, call.prompt), len(call.prompt) - 1)
        slot.held, slot.call, slot.caller, slot.sent_at, slot.started_at = (), call, caller, sent_at, self.now
        slot.found, slot.position, slot.left = found, found, call.output_tokens

    def _exchange(self, slot: _Slot, prompt: tuple[int, ...]) -> None:
        if slot.held and not any(common_prefix(kept, slot.held) == len(slot.held) for kept in self.host):
            self.host = deque(kept for kept in self.host if common_prefix(kept, slot.held) < len(kept))
            self.host.append(slot.held)
        best, shared = None, common_prefix(slot.held, prompt)
        share = shared / len(slot.held) if slot.held else 0.0
        for kept in self.host:
            here = common_prefix(kept, prompt)
            if here > shared and here / len(kept) > max(share, LEAST_SHARE):
                best, shared, share = kept, here, here / len(kept)
        if best is not None:
            slot.held = best
            self.host.remove(best)
        while self.host and sum(map(len, self.host)) > self.host_tokens:
            self.host.popleft()

    def step(self, until: float) -> list[CallServed]:
        """Rules 4 and 5; several steps of pure decode at once, up to the first change or ``until``."""
        decoding = [slot for slot in self.slots if slot.decoding]
        prefilling = [slot for slot in self.slots if slot.prefilling]
        if prefilling:
            self._mixed_step(prefilling, decoding)
        else:
            self._decode_steps(decoding, until)
        return [self._release(slot) for slot in self.slots if slot.decoding and slot.left == 0]

    def _mixed_step(self, prefilling: list[_Slot], decoding: list[_Slot]) -> None:
        begun = any(slot.position == slot.found for slot in prefilling)
        seconds, room = (self.times.pass_seconds if begun else 0.0), self.batch_tokens - len(decoding)
        if decoding:
            seconds += self.times.step_seconds(len(decoding), _mean_context(decoding))
        ended = []
        for slot in prefilling:
            assert slot.call is not None  # noqa: S101  it is in prefill
            taken = min(room, len(slot.call.prompt) - slot.position)
            if taken <= 0:
                break
            seconds += self.times.chunk_seconds(taken, slot.position)
            room -= taken
            slot.position += taken
            if not slot.prefilling:
                ended.append(slot)
        self.now += seconds
        for slot in decoding:
            slot.left -= 1
        for slot in ended:
            slot.first_token_at = self.now
            slot.left -= 1

    def _decode_steps(self, decoding: list[_Slot], until: float) -> None:
        count, context = len(decoding), _mean_context(decoding)
        steps = min(slot.left for slot in decoding)
        first = self.times.step_seconds(count, context)
        if until < math.inf:
            steps = max(1, min(steps, math.ceil((until - self.now) / first)))
        self.now += steps * self.times.step_seconds(count, context + (steps - 1) / 2)
        for slot in decoding:
            slot.left -= steps

    def _release(self, slot: _Slot) -> CallServed:
        assert slot.call is not None  # noqa: S101  it just ended
        computed = len(slot.call.prompt) - slot.found
        served = CallServed(slot.caller, slot.sent_at, slot.started_at, slot.first_token_at, self.now, computed)
        answer = (UNKNOWN_TOKEN,) * slot.call.output_tokens
        slot.held, slot.call, slot.free_since = slot.call.prompt + answer, None, self.now
        return served


def serve_calls(
    callers: Sequence[Sequence[BatchCall]],
    times: StepTimes,
    *,
    slots: int,
    batch_tokens: Tokens,
    host_tokens: float = math.inf,
    start_at: Sequence[Seconds] | None = None,
    held: HeldPrompts | None = None,
) -> tuple[list[CallServed], HeldPrompts]:
    """Run the calls of several callers, each of which sends its next call as soon as the last was answered.

    Args:
        callers: the calls of each, in their order.
        times: of the engine's steps.
        slots: calls served at once.
        batch_tokens: most tokens of a step (``n_batch``).
        host_tokens: prompt tokens that the host memory keeps for slots to come back to.
        start_at: when each caller sends its first call; by default all at 0.
        held: what the engine holds from before; by default nothing.

    Returns:
        All calls in the order in which they ended, and what the engine then holds.
    """
    require_positive("slots", slots)
    require_positive("batch_tokens", batch_tokens - slots)
    require_not_negative("calls", sum(map(len, callers)))
    before = held or HeldPrompts(((),) * slots, ())
    engine = _Engine(times, [_Slot(prompt) for prompt in before.slots], batch_tokens, host_tokens)
    engine.host.extend(before.host)
    starts = start_at or [0.0] * len(callers)
    sent = [0] * len(callers)
    arriving = [(starts[caller] + times.overhead_seconds, caller) for caller, calls in enumerate(callers) if calls]
    heapq.heapify(arriving)
    served: list[CallServed] = []
    while arriving or engine.busy:
        if not engine.busy:
            engine.now = max(engine.now, arriving[0][0])
        while arriving and arriving[0][0] <= engine.now and engine.has_room:
            at, caller = heapq.heappop(arriving)
            engine.admit(callers[caller][sent[caller]], caller, at - times.overhead_seconds)
            sent[caller] += 1
        for done in engine.step(arriving[0][0] if arriving and engine.has_room else math.inf):
            served.append(done)
            if sent[done.caller] < len(callers[done.caller]):
                heapq.heappush(arriving, (engine.now + times.overhead_seconds, done.caller))
    return served, HeldPrompts(tuple(slot.held for slot in engine.slots), tuple(engine.host))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with.

    >>> common_prefix((1, 2, 3), (1, 2, 4, 5))
    2
    """
    shortest = min(len(one), len(other))
    if one[:shortest] == other[:shortest]:
        return shortest
    low, high = 0, shortest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle)
    return low


def _mean_context(decoding: Sequence[_Slot]) -> float:
    """Tokens in the cache of those that decode, on average; a step's time is linear in them."""
    contexts = [
        len(slot.call.prompt) + slot.call.output_tokens - slot.left for slot in decoding if slot.call is not None
    ]
    return sum(contexts) / len(contexts)
