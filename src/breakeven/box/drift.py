"""Slower than usual, and why: recent timings against the box's own baseline, told apart by what strains the machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import TypeAlias

from breakeven.units import Seconds, Tokens

Bucket: TypeAlias = tuple[int, int]
"""Binary digits of a size, and calls at once."""
SLOWER = 1.3
"""Times the usual from which a slowdown is one."""
LEAST_TIMINGS = 5
"""Of a bucket, and of recent calls, before anything is said of them."""
LOADING: Seconds = 0.5
"""A call that spent longer on loading had to wait for the model."""
RELOADS_SHARE = 0.1
MEMORY_SHARE = 0.05
CPU_SHARE = 0.2
SWAP_BYTES = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Timing:
    """One local call: computed prompt tokens, output, and seconds, ``None`` where nobody says; and how many calls its
    server worked at meanwhile."""

    at: float
    computed_tokens: Tokens
    context_tokens: Tokens
    output_tokens: Tokens
    prefill: Seconds | None
    decode: Seconds | None
    load: Seconds | None = None
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class Strain:
    """What holds the machine back now; see `breakeven.box.pressure`."""

    cpu_share: float | None = None
    memory_share: float | None = None
    swap_bytes_per_second: float | None = None
    throttled: tuple[str, ...] = ()


class Cause(StrEnum):
    """Why calls are slow."""

    RELOAD = "model reload"
    MEMORY = "memory pressure"
    HEAT = "thermal throttling"
    CPU = "CPU contention"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Drift:
    """A slowdown.

    Attributes:
        times: how many times longer than usual prefill or decode takes, the worse of the two; ``None`` for reloads.
        says / action: what was seen, and what to do about it.
        fewer_at_once: whether fewer calls at once would help: they need less memory and make less heat, but leave no
            more of a CPU that others want.
    """

    cause: Cause
    times: float | None
    says: str
    action: str
    fewer_at_once: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """Usual seconds a token, by size and calls at once: prefill by computed tokens, decode by context; sizes in powers
    of two."""

    prefill: Mapping[Bucket, Seconds] = field(default_factory=dict)
    decode: Mapping[Bucket, Seconds] = field(default_factory=dict)

    @classmethod
    def of(cls, timings: Iterable[Timing]) -> Baseline:
        """Medians of buckets that hold enough."""
        prefill, decode = _buckets(timings)
        return cls(
            {size: median(rates) for size, rates in prefill.items() if len(rates) >= LEAST_TIMINGS},
            {size: median(rates) for size, rates in decode.items() if len(rates) >= LEAST_TIMINGS},
        )

    def slowdown(self, recent: Iterable[Timing]) -> float | None:
        """Median of recent over usual times, the worse of prefill and decode; ``None`` of too few that compare."""
        worst = [
            median(ratios)
            for usual, seen in zip((self.prefill, self.decode), _buckets(recent), strict=True)
            if len(ratios := [r / usual[size] for size, rates in seen.items() if size in usual for r in rates])
            >= LEAST_TIMINGS
        ]
        return max(worst, default=None)


def find_drift(recent: Sequence[Timing], usual: Baseline, strain: Strain) -> Drift | None:
    """The slowdown of recent calls and its likeliest cause; ``None`` when there is none.

    Rules, the first that holds:

    1. More than a tenth of the calls waited for the model to load: reloads, whatever the rates.
    2. Nothing takes 1.3 times as long as usual: no drift.
    3. Something waits for memory, or memory is swapped: that, since it slows everything else down too.
    4. The processor or a card says it is throttled: heat or power.
    5. Something waits for a CPU a fifth of the time: neighbours.
    6. Else unexplained.
    """
    loads = [timing for timing in recent if timing.load is not None and timing.load > LOADING]
    if len(recent) >= LEAST_TIMINGS and len(loads) > RELOADS_SHARE * len(recent):
        waited = median(timing.load or 0.0 for timing in loads)
        return Drift(
            Cause.RELOAD,
            None,
            f"{len(loads)} of {len(recent)} recent calls waited for the model to load, {waited:.1f} s each",
            "Keep it loaded: raise the keep-alive, and see that no other model takes its place.",
        )
    times = usual.slowdown(recent)
    if times is None or times < SLOWER:
        return None
    slower = f"calls take {times:.1f} × as long as usual"
    if (strain.memory_share or 0) > MEMORY_SHARE or (strain.swap_bytes_per_second or 0) > SWAP_BYTES:
        return Drift(
            Cause.MEMORY,
            times,
            f"{slower} while the machine is short of memory",
            "Close what else uses memory, or lower engine.context or engine.slots.",
            fewer_at_once=True,
        )
    if strain.throttled:
        return Drift(
            Cause.HEAT,
            times,
            f"{slower} while {'; '.join(strain.throttled)}",
            "Give it air; fewer calls at once make less heat.",
            fewer_at_once=True,
        )
    if (strain.cpu_share or 0) > CPU_SHARE:
        return Drift(
            Cause.CPU,
            times,
            f"{slower} while other work wants the CPU ({strain.cpu_share:.0%} of the time something waits for one)",
            "Move that work elsewhere, or set engine.threads lower so that they share the cores.",
        )
    return Drift(
        Cause.UNEXPLAINED,
        times,
        f"{slower}, and neither memory, heat nor the CPU explains it",
        "Measure again (breakeven measure --quick); an update of the server or the driver may have changed the speed.",
    )


def _buckets(timings: Iterable[Timing]) -> tuple[dict[Bucket, list[Seconds]], dict[Bucket, list[Seconds]]]:
    prefill: dict[Bucket, list[Seconds]] = defaultdict(list)
    decode: dict[Bucket, list[Seconds]] = defaultdict(list)
    for timing in timings:
        if timing.prefill and timing.computed_tokens > 0:
            prefill[timing.computed_tokens.bit_length(), timing.parallel].append(
                timing.prefill / timing.computed_tokens
            )
        if timing.decode and timing.output_tokens > 1:
            size = (timing.context_tokens + timing.output_tokens).bit_length()
            decode[size, timing.parallel].append(timing.decode / (timing.output_tokens - 1))
    return prefill, decode
