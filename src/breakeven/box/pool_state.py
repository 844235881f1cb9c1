"""What the scheduler decides upon: calls that wait, engines and their slots, and prompts kept outside of slots.

Values only. Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from breakeven.box.prefix import Prefix, Prompt
from breakeven.units import Seconds, Tokens

ASSUMED_PREFILL = 200.0
ASSUMED_DECODE = 20.0
"""Tokens a second that placements are weighed with until an engine has been measured; forecasts never use them."""


LEAST_SWAP_SECONDS = 0.05


class Priority(IntEnum):
    """Who goes first, other things being equal."""

    INTERACTIVE = 0
    AGENT = 1
    BATCH = 2


@dataclass(frozen=True, slots=True)
class Call:
    """A call that waits.

    Attributes:
        id: numbered in order of arrival.
        agent: whose call it is; calls of one agent usually begin alike.
        chain: the run of an agent's steps it belongs to, if any.
        deadline: when its answer must be complete.
        output_tokens: how much it will probably generate.
        avoids: names of the engines that failed before they answered it; they serve it only when no other is up.
            A call that has been with an engine is past refusing.
    """

    id: int
    agent: str
    prompt: Prompt
    arrived: Seconds
    priority: Priority = Priority.AGENT
    chain: str | None = None
    deadline: Seconds | None = None
    output_tokens: Tokens = 0
    avoids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lease:
    """An idle slot kept for a chain's next step, against calls that are no more urgent than the chain.

    Attributes:
        since: when the step before ended.
        against_others_until: how long it is kept while others wait.
        until: how long it is kept while nobody does.
    """

    chain: str
    priority: Priority
    since: Seconds
    against_others_until: Seconds
    until: Seconds


@dataclass(frozen=True, slots=True)
class Slot:
    """One of an engine's places for a call.

    Attributes:
        holds: the prompt it last computed, and ``agent`` whose that was.
        held_tokens: how long that is.
        stable_blocks: how much of it, from its beginning, will probably be asked for again.
        call: the call it serves; ``None`` while idle.
        busy_until: when that call will probably be done.
        run_since: since when it has served calls that begin alike.
        lease: for whom it is kept while idle.
    """

    engine: str
    number: int
    holds: Prefix = ()
    held_tokens: Tokens = 0
    agent: str | None = None
    stable_blocks: int = 0
    call: int | None = None
    busy_until: Seconds = 0.0
    run_since: Seconds = 0.0
    lease: Lease | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Its name in the pool."""
        return self.engine, self.number


@dataclass(frozen=True, slots=True)
class Copy:
    """A computed prompt kept outside of the slots.

    Attributes:
        file: name of the KV file to restore it from; ``None`` when the engine keeps it and finds it by itself.
        size: bytes.
        seconds: how long restoring it takes.
    """

    engine: str
    prefix: Prefix
    agent: str
    file: str | None
    size: int
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class EngineView:
    """An engine that can take calls now.

    Attributes:
        prefill / decode: tokens a second as measured; ``None`` before the first call.
        saves: whether slots can be saved to files and restored.
        swap: seconds a token of a prompt takes to go from its slot to the engine's memory and back; ``None`` where it
            is lost with its slot, or nobody knows.
    """

    name: str
    prefill: float | None = None
    decode: float | None = None
    saves: bool = False
    swap: float | None = None

    def prefill_seconds(self, tokens: Tokens) -> Seconds:
        """Time to compute so much of a prompt."""
        return tokens / (self.prefill or ASSUMED_PREFILL)

    def seconds_to_have_back(self, tokens: Tokens) -> Seconds:
        """Time that a prompt costs whose slot has served others in between."""
        anew = self.prefill_seconds(tokens)
        return anew if self.swap is None else min(anew, LEAST_SWAP_SECONDS + tokens * self.swap)

    def decode_seconds(self, tokens: Tokens) -> Seconds:
        """Time to generate so much."""
        return tokens / (self.decode or ASSUMED_DECODE)


@dataclass(frozen=True, slots=True)
class PoolState:
    """All that a decision depends on besides the time.

    Attributes:
        wakes: when agents are expected next; agents without an entry are not expected.
        overflows: the prompts in use exceed what the engines keep by themselves, so what leaves a slot is saved.
        file_budget: bytes that KV files may take in all.
        at_once: calls that each engine serves at once; ``None`` for as many as it has slots.
    """

    engines: Mapping[str, EngineView] = field(default_factory=dict)
    slots: tuple[Slot, ...] = ()
    waiting: tuple[Call, ...] = ()
    copies: tuple[Copy, ...] = ()
    wakes: Mapping[str, Seconds] = field(default_factory=dict)
    overflows: bool = False
    file_budget: int = 0
    at_once: int | None = None

    def may_serve(self, engine: str, call: Call) -> bool:
        """Whether a call can go to an engine."""
        return engine not in call.avoids or call.avoids.issuperset(self.engines)


@dataclass(frozen=True, slots=True)
class Reuse:
    """What of a prompt need not be computed in a slot.

    Attributes:
        tokens: how much that is.
        copy: where it comes from; ``None`` for the slot itself.
        seconds: from taking the slot to the end of prefill.
    """

    tokens: Tokens
    copy: Copy | None
    seconds: Seconds


def reuse(call: Call, slot: Slot, engine: EngineView, copies: tuple[Copy, ...]) -> Reuse:
    """The quickest way to have a call's prompt computed in a slot."""
    held = call.prompt.shared_tokens(slot.holds)
    best = Reuse(held, None, engine.prefill_seconds(call.prompt.tokens - held))
    for copy in copies:
        if copy.engine == slot.engine and copy.prefix[:1] == call.prompt.prefix[:1]:
            kept = call.prompt.shared_tokens(copy.prefix)
            seconds = copy.seconds + engine.prefill_seconds(call.prompt.tokens - kept)
            if seconds < best.seconds:
                best = Reuse(kept, copy, seconds)
    return best
