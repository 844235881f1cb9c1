"""A trace put through machines and price lists: boxes, waits and cost on both sides, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from breakeven.catalog.machines import Machine, box_cost, find_machine
from breakeven.catalog.measurements import Measurement
from breakeven.catalog.shapes import ListedShape, find_shape
from breakeven.economics.capacity import boxes_at
from breakeven.economics.local import BoxCost
from breakeven.economics.memory import boxes_for_memory, memory_need
from breakeven.economics.queueing import Arrivals, Replay, boxes_for_wait, replay
from breakeven.economics.rates import Rates, price_call
from breakeven.economics.service import BoxSpeed
from breakeven.economics.tokens import TokenCounts
from breakeven.planning.clouds import NOT_COMPARED, Prices
from breakeven.planning.scenario import Scenario
from breakeven.planning.serving import box_speed
from breakeven.planning.trace import Trace
from breakeven.units import GIB, SECONDS_PER_MONTH, Seconds, Usd

MACHINES = ("m4-max-128", "m3-ultra-256", "2x-rtx-4090")
"""Replayed when the scenario names no machine."""
OTHER_MODELS = ("openai/gpt-6-luna",)
"""Priced besides the scenario's frontier and small models."""


@dataclass(frozen=True, slots=True)
class TraceOnMachine:
    """The trace on as many of one machine as it takes; ``None`` is unknown.

    Attributes:
        speed: what was replayed with; ``None`` when nobody knows how fast the machine is.
        busy_boxes: boxes that would be busy all the time.
        boxes: for utilisation, wait and memory together; ``None`` when the model does not fit, or no number helps.
        by_utilisation / by_wait / by_memory: what each asks for.
        wait_p50_seconds / wait_p95_seconds: with that many boxes.
        one_box_hours: how long a single box would take for everything.
        usd_monthly: fixed cost and energy a month if the trace went on like this.
        usd_trace: of the trace itself: its energy and its share of the month's fixed cost.
    """

    machine: Machine
    speed: BoxSpeed | None
    memory_gib: float
    busy_boxes: float | None = None
    boxes: int | None = None
    by_utilisation: int | None = None
    by_wait: int | None = None
    by_memory: int | None = None
    wait_p50_seconds: Seconds | None = None
    wait_p95_seconds: Seconds | None = None
    one_box_hours: float | None = None
    usd_monthly: Usd | None = None
    usd_trace: Usd | None = None


@dataclass(frozen=True, slots=True)
class TraceInCloud:
    """The trace priced call by call with one model.

    Attributes:
        usd: sum over calls, each in its own tier; ``None`` when the price is unknown.
        usd_monthly: a month of it.
    """

    role: str
    name: str
    usd: Usd | None
    usd_monthly: Usd | None
    source: str


@dataclass(frozen=True, slots=True)
class TracePlan:
    """The whole answer about a trace."""

    trace: Trace
    model: ListedShape
    at: datetime
    machines: tuple[TraceOnMachine, ...]
    clouds: tuple[TraceInCloud, ...]

    @property
    def too_long(self) -> int:
        """Requests longer than the model's context: replayed as if they fitted, and to be said so."""
        lengths = self.trace.input_tokens + self.trace.output_tokens
        return int((lengths > self.model.shape.max_context_tokens).sum())


def plan_trace(
    trace: Trace, scenario: Scenario, prices: Prices, at: datetime, measured: Sequence[Measurement] = ()
) -> TracePlan:
    """Replay a trace through machines and price it with models, at the prices of a day.

    The scenario gives the model, the costs of the box, the planned utilisation, the wait allowed and the models to
    compare with; its workload is the trace's.
    """
    listed = find_shape(scenario.serving.model)
    keys = MACHINES if scenario.box.machine is None else (scenario.box.machine,)
    machines = tuple(_on_machine(trace, scenario, listed, find_machine(key), measured) for key in keys)
    clouds = _in_clouds(trace, scenario, listed, prices, at)
    return TracePlan(trace, listed, at, machines, clouds)


def trace_counts(trace: Trace) -> dict[tuple[int, int, int], int]:
    """Distinct requests (uncached input, cached input, output) and how often each occurs.

    Pricing each distinct request once and multiplying is exact, and far quicker than pricing every request.
    """
    reused = np.zeros(len(trace), dtype=np.int64) if trace.reused_tokens is None else trace.reused_tokens
    columns = np.stack([trace.input_tokens - reused, reused, trace.output_tokens], axis=1)
    distinct, times = np.unique(columns, axis=0, return_counts=True)
    return {(int(a), int(b), int(c)): int(n) for (a, b, c), n in zip(distinct.tolist(), times.tolist(), strict=True)}


def price_trace(counts: dict[tuple[int, int, int], int], rates: Rates) -> Usd | None:
    """Σ of each call's own price; sums of tokens are never priced, since tiers apply per call."""
    total = Decimal(0)
    for (uncached, cached, output), times in counts.items():
        cost = price_call(TokenCounts(uncached_input=uncached, cache_read=cached, output=output), rates)
        if cost is None:
            return None
        total += times * cost.total
    return total


def _on_machine(
    trace: Trace, scenario: Scenario, listed: ListedShape, machine: Machine, measured: Sequence[Measurement]
) -> TraceOnMachine:
    serving = scenario.serving
    longest = int((trace.input_tokens + trace.output_tokens).max())
    context = max(serving.context_tokens, longest)
    memory = memory_need(
        listed.shape, context_tokens=context, slots=serving.slots, flash_attention=serving.flash_attention
    )
    speed = box_speed(scenario, listed, machine, measured)
    if speed is None:
        return TraceOnMachine(machine, None, memory.total_gib)

    arrivals = trace_arrivals(trace, speed)

    def run(boxes: int) -> Replay:
        return replay(arrivals, boxes, slots=serving.slots, decode_to_prefill=speed.batch_cost)

    work = float(arrivals.service.sum())
    busy = work / max(trace.span_seconds, 1.0)
    by_utilisation = boxes_at(busy, serving.utilisation)
    found = boxes_for_wait(run, at_least=by_utilisation, limit_seconds=serving.max_wait_seconds)
    by_memory = boxes_for_memory(memory, int(machine.usable_memory_gib * GIB))
    boxes = None if found is None or by_memory is None else max(by_utilisation, found.boxes, by_memory)
    cost = box_cost(scenario.box.settings().model_copy(update={"machine": machine.key}))
    monthly, of_trace = _costs(cost, boxes, work, trace)
    return TraceOnMachine(
        machine=machine,
        speed=speed,
        memory_gib=memory.total_gib,
        busy_boxes=busy,
        boxes=boxes,
        by_utilisation=by_utilisation,
        by_wait=None if found is None else found.boxes,
        by_memory=by_memory,
        wait_p50_seconds=None if found is None else found.wait_quantile(0.5),
        wait_p95_seconds=None if found is None else found.wait_quantile(0.95),
        one_box_hours=run(1).finished_seconds / 3600,
        usd_monthly=monthly,
        usd_trace=of_trace,
    )


def trace_arrivals(trace: Trace, speed: BoxSpeed) -> Arrivals:
    """The trace in seconds of work on one box, prefix reuse taken off the prefill."""
    reused = 0 if trace.reused_tokens is None else trace.reused_tokens
    prefill = (trace.input_tokens - reused) / speed.prefill.tokens_per_second
    contexts = trace.input_tokens + trace.output_tokens / 2
    rates = np.array([speed.decode_tokens_per_second(context) for context in contexts.tolist()])
    return Arrivals(trace.at, prefill, trace.output_tokens / rates + speed.overhead_seconds)


def _months(trace: Trace) -> Decimal:
    """Length of the trace in months of 730 hours."""
    return Decimal(str(max(trace.span_seconds, 1.0))) / SECONDS_PER_MONTH


def _costs(cost: BoxCost | None, boxes: int | None, work: Seconds, trace: Trace) -> tuple[Usd | None, Usd | None]:
    if cost is None or boxes is None:
        return None, None
    months = _months(trace)
    watt_hours = (cost.load_watts - cost.idle_watts) * Decimal(str(work)) / 3600
    energy = cost.energy_usd(watt_hours)
    fixed = boxes * cost.fixed_usd_monthly
    return fixed + energy / months, fixed * months + energy


def _in_clouds(
    trace: Trace, scenario: Scenario, listed: ListedShape, prices: Prices, at: datetime
) -> tuple[TraceInCloud, ...]:
    counts = trace_counts(trace)
    months = _months(trace)
    cloud = scenario.cloud

    def priced(role: str, name: str) -> TraceInCloud:
        provider, _, model = name.partition("/")
        row = prices.find(provider, model, at=at)
        if row is None:
            return TraceInCloud(role, name, None, None, "unknown")
        usd = price_trace(counts, row.rates)
        dated = row.effective or at.date()
        source = f"{row.source}, {dated.isoformat()}"
        return TraceInCloud(role, name, usd, None if usd is None else usd / months, source)

    found = [priced("frontier", cloud.frontier)]
    if cloud.small != NOT_COMPARED:
        found.append(priced("small", cloud.small))
    found += [priced("small", name) for name in OTHER_MODELS if name != cloud.small]
    hosts = listed.hosted_as if cloud.hosted is None else () if cloud.hosted == NOT_COMPARED else (cloud.hosted,)
    hosted = [priced("same model, hosted", name) for name in hosts]
    known = [(option.usd, option) for option in hosted if option.usd is not None]
    if known:
        found.append(min(known, key=lambda pair: pair[0])[1])
    elif hosted:
        found.append(hosted[0])
    return tuple(found)


def trace_document(plan: TracePlan) -> dict[str, Any]:
    """The answer for machines: plain keys, units in their names, money exact, unknown as null."""
    trace = plan.trace
    return {
        "trace": {
            "file": trace.name,
            "format": trace.format,
            "requests": len(trace),
            "skipped_lines": trace.skipped,
            "problems": list(trace.problems),
            "input_tokens": int(trace.input_tokens.sum()),
            "output_tokens": int(trace.output_tokens.sum()),
            "reused_tokens": None if trace.reused_tokens is None else int(trace.reused_tokens.sum()),
            "span_seconds": trace.span_seconds,
            "longer_than_the_model_takes": plan.too_long,
            "peak_minute_over_mean": trace.peak_minute_factor,
        },
        "model": plan.model.key,
        "priced_on": plan.at.date().isoformat(),
        "machines": [
            {
                "machine": case.machine.key,
                "prefill_tokens_per_second": case.speed and case.speed.prefill.tokens_per_second,
                "prefill_basis": case.speed and case.speed.prefill.basis.value,
                "decode_tokens_per_second": case.speed and case.speed.decode.tokens_per_second,
                "decode_basis": case.speed and case.speed.decode.basis.value,
                "memory_gib": case.memory_gib,
                "usable_memory_gib": case.machine.usable_memory_gib,
                "boxes": case.boxes,
                "boxes_at_100_percent": case.busy_boxes,
                "boxes_by_utilisation": case.by_utilisation,
                "boxes_by_wait": case.by_wait,
                "boxes_by_memory": case.by_memory,
                "wait_p50_seconds": case.wait_p50_seconds,
                "wait_p95_seconds": case.wait_p95_seconds,
                "one_box_hours": case.one_box_hours,
                "usd_trace": case.usd_trace,
                "usd_monthly": case.usd_monthly,
            }
            for case in plan.machines
        ],
        "clouds": [
            {
                "role": case.role,
                "model": case.name,
                "usd_trace": case.usd,
                "usd_monthly": case.usd_monthly,
                "price_source": case.source,
            }
            for case in plan.clouds
        ],
    }
