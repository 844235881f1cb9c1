"""Requests as they came, on as many boxes of one machine as they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from breakeven.catalog.machines import Machine
from breakeven.catalog.measurements import Measurement
from breakeven.catalog.shapes import ListedShape
from breakeven.economics.capacity import boxes_at
from breakeven.economics.local import BoxCost
from breakeven.economics.memory import boxes_for_memory, memory_need
from breakeven.economics.queueing import Arrivals, FloatArray, boxes_for_wait, replay
from breakeven.economics.service import BoxSpeed
from breakeven.planning.plan import box_of
from breakeven.planning.scenario import Scenario
from breakeven.planning.serving import box_speed
from breakeven.planning.trace import Trace
from breakeven.planning.volume import Volume
from breakeven.units import GIB, Seconds, Usd

MOST_REPLAYED, MOST_REPLAYED_SHARED = 200_000, 20_000
"""Requests replayed at most through boxes that serve one at a time, and through boxes with slots, which take longer."""


@dataclass(frozen=True, slots=True)
class TraceOnMachine:
    """The requests on as many of one machine as it takes; ``None`` is unknown.

    Attributes:
        machine: of the catalogue; ``None`` for a box that the scenario describes itself.
        speed: what was replayed with; ``None`` when nobody knows how fast the machine is.
        seconds_per_request: mean box time of a request, decode shared by full slots.
        busy_boxes: boxes that would be busy all the time.
        boxes: for utilisation, wait and memory together; ``None`` when the model does not fit, or no number helps.
        by_utilisation / by_wait / by_memory: what each asks for.
        wait_p50_seconds / wait_p95_seconds: with that many boxes.
        replayed: requests that were; fewer than all where only the busiest stretch was.
        one_box_hours: how long a single box would take for everything.
        usd_monthly: fixed cost and energy a month if the requests went on like this.
        usd_trace: of the requests themselves: their energy and their share of the month's fixed cost.
    """

    machine: Machine | None
    speed: BoxSpeed | None
    memory_gib: float
    usable_memory_gib: Decimal | None
    seconds_per_request: Seconds | None = None
    busy_boxes: float | None = None
    boxes: int | None = None
    by_utilisation: int | None = None
    by_wait: int | None = None
    by_memory: int | None = None
    wait_p50_seconds: Seconds | None = None
    wait_p95_seconds: Seconds | None = None
    replayed: int = 0
    one_box_hours: float | None = None
    usd_monthly: Usd | None = None
    usd_trace: Usd | None = None

    @property
    def name(self) -> str:
        """For reading."""
        return self.machine.name if self.machine else "your box"


def on_machine(
    volume: Volume, scenario: Scenario, listed: ListedShape, machine: Machine | None, measured: Sequence[Measurement]
) -> TraceOnMachine:
    """Replay requests on one machine."""
    serving, trace = scenario.serving, volume.trace
    memory = memory_need(
        listed.shape,
        context_tokens=context_of(trace, scenario, listed),
        slots=serving.slots,
        flash_attention=serving.flash_attention,
    )
    usable = None if machine is None else machine.usable_memory_gib
    speed = box_speed(scenario, listed, machine, measured)
    if speed is None:
        return TraceOnMachine(machine, None, memory.total_gib, usable)

    arrivals, summed = trace_arrivals(trace, speed), seconds_of_sums(volume, speed, serving.slots)
    shared = _shared(speed, serving.slots)
    work = (float(arrivals.prefill.sum() + arrivals.decode.sum() * shared) if arrivals else 0.0) + summed
    busy = work / volume.seconds
    by_utilisation = boxes_at(busy, serving.utilisation)
    by_memory = 1 if usable is None else boxes_for_memory(memory, int(usable * GIB))
    most = MOST_REPLAYED if serving.slots == 1 else MOST_REPLAYED_SHARED
    replayed = None if arrivals is None else _busiest(arrivals, most)
    found = None
    if replayed is not None:
        found = boxes_for_wait(
            lambda boxes: replay(replayed, boxes, slots=serving.slots, decode_to_prefill=speed.batch_cost),
            at_least=by_utilisation,
            limit_seconds=serving.max_wait_seconds,
        )
    feasible = by_memory is not None and (found is not None or replayed is None)
    boxes = max(by_utilisation, found.boxes if found else 1, by_memory or 1) if feasible else None
    cost = box_of(scenario.box if machine is None else scenario.box.model_copy(update={"machine": machine.key}))[1]
    monthly, of_trace = _costs(cost, boxes, work, volume)
    return TraceOnMachine(
        machine=machine,
        speed=speed,
        memory_gib=memory.total_gib,
        usable_memory_gib=usable,
        seconds_per_request=work / volume.requests,
        busy_boxes=busy,
        boxes=boxes,
        by_utilisation=by_utilisation,
        by_wait=found.boxes if found else None,
        by_memory=by_memory,
        wait_p50_seconds=found.wait_quantile(0.5) if found else None,
        wait_p95_seconds=found.wait_quantile(0.95) if found else None,
        replayed=len(replayed.at) if replayed else 0,
        one_box_hours=_one_box_seconds(arrivals, summed) / 3600,
        usd_monthly=monthly,
        usd_trace=of_trace,
    )


def context_of(trace: Trace, scenario: Scenario, listed: ListedShape) -> int:
    """The context a slot needs: the longest request's, as far as the model takes it."""
    longest = int((trace.input_tokens + trace.output_tokens).max()) if len(trace) else 0
    return max(scenario.serving.context_tokens, min(longest, listed.shape.max_context_tokens))


def trace_arrivals(trace: Trace, speed: BoxSpeed) -> Arrivals | None:
    """The requests in seconds of work on one box, what was cached taken off the prefill; ``None`` without any."""
    if not len(trace):
        return None
    prefill = (trace.input_tokens - trace.tokens.cache_read) / speed.prefill.tokens_per_second
    contexts, places = np.unique(trace.input_tokens + trace.output_tokens / 2, return_inverse=True)
    rates = np.array([speed.decode_tokens_per_second(context) for context in contexts.tolist()])[places]
    return Arrivals(trace.at, prefill, trace.output_tokens / rates + speed.overhead_seconds)


def _shared(speed: BoxSpeed, slots: int) -> float:
    """Box time of a second of decode when the slots are full: it is shared by all, prefill by none."""
    return speed.parallel_slowdown(slots) / slots


def seconds_of_sums(volume: Volume, speed: BoxSpeed, slots: int) -> Seconds:
    """Work of the buckets: prefill and decode are linear in tokens, at the mean context of a request."""
    counts = volume.summed
    if not counts.total:
        return 0.0
    requests = volume.requests - len(volume.trace)
    context = (counts.input + counts.output / 2) / requests
    computed = counts.input - counts.cache_read
    return computed / speed.prefill.tokens_per_second + (
        counts.output / speed.decode_tokens_per_second(context) + requests * speed.overhead_seconds
    ) * _shared(speed, slots)


def _busiest(arrivals: Arrivals, most: int) -> Arrivals:
    """The stretch of so many requests with the most work in the least time; all of them if they are no more."""
    count = len(arrivals.at)
    if count <= most:
        return arrivals
    work = np.concatenate([[0.0], np.cumsum(arrivals.service)])
    spans = arrivals.at[most - 1 :] - arrivals.at[: count - most + 1]
    first = int(np.argmax((work[most:] - work[: count - most + 1]) / np.maximum(spans, 1.0)))
    stretch = slice(first, first + most)
    return Arrivals(arrivals.at[stretch], arrivals.prefill[stretch], arrivals.decode[stretch])


def _one_box_seconds(arrivals: Arrivals | None, summed: Seconds) -> Seconds:
    """When a single box without slots would have served all: Lindley's recursion, in one sweep."""
    if arrivals is None:
        return summed
    service: FloatArray = arrivals.service
    ahead = np.concatenate([[0.0], np.cumsum(service)[:-1]])
    starts = np.maximum.accumulate(arrivals.at - ahead) + ahead
    return float((starts + service).max() - arrivals.at[0]) + summed


def _costs(cost: BoxCost | None, boxes: int | None, work: Seconds, volume: Volume) -> tuple[Usd | None, Usd | None]:
    if cost is None or boxes is None:
        return None, None
    watt_hours = (cost.load_watts - cost.idle_watts) * Decimal(repr(work)) / 3600
    energy = cost.energy_usd(watt_hours)
    fixed = boxes * cost.fixed_usd_monthly
    return fixed + energy / volume.months, fixed * volume.months + energy
