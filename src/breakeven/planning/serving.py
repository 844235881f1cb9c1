"""What one box does with the scenario's requests: its speeds, its memory, how many boxes the load needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from breakeven.catalog.figures import Figure
from breakeven.catalog.machines import Machine
from breakeven.catalog.measurements import Measurement, measured_speed, newest
from breakeven.catalog.shapes import ListedShape
from breakeven.economics.capacity import BoxesNeeded, boxes_at, busy_boxes, capacity_tokens
from breakeven.economics.memory import MemoryNeed, boxes_for_memory, memory_need
from breakeven.economics.queueing import Arrivals, boxes_for_wait, replay
from breakeven.economics.service import Basis, BoxSpeed, Speed, best, decode_roofline
from breakeven.planning.scenario import Scenario, Workload
from breakeven.units import GIB, HOURS_PER_MONTH, SECONDS_PER_MONTH, Seconds, Tokens

REUSE_SHOWN = Decimal("0.9")
"""Share of the prompt resident in the KV cache with which plans without reuse are compared."""
REPLAYED_SECONDS = 6 * 3600.0
MOST_REPLAYED = 20_000
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class ReuseCase:
    """The load with so much of each prompt found in the KV cache.

    Attributes:
        name: in words.
        computed_input_tokens: prompt tokens a request makes the box compute, on average.
        seconds_per_request: its service time.
        busy_boxes: boxes at 100 % utilisation, a fraction.
        boxes: at the planned utilisation.
        capacity_tokens: what one box then serves a month, with the busiest hour at the planned utilisation.
    """

    name: str
    computed_input_tokens: float
    seconds_per_request: Seconds
    busy_boxes: float
    boxes: int
    capacity_tokens: Tokens


@dataclass(frozen=True, slots=True)
class Serving:
    """What one box does.

    Attributes:
        speed: ``None`` when nobody knows how fast it is.
        memory / usable_gib: what the model takes and what there is; ``None`` without a machine.
        reuse: without, with 90 % of the prompt resident, and as the scenario has it.
        needed: boxes by each demand.
        wait_p95_seconds: with the boxes needed.
        waits_known: false where no single arrivals are known to replay.
        boxes_for_memory: ``None`` when no number of boxes has room; 1 where the machine's memory is not known.
    """

    speed: BoxSpeed | None
    memory: MemoryNeed
    usable_gib: Decimal | None
    seconds_per_request: Seconds | None = None
    capacity_tokens: Tokens | None = None
    reuse: tuple[ReuseCase, ...] = ()
    needed: BoxesNeeded | None = None
    wait_p95_seconds: Seconds | None = None
    boxes_for_memory: int | None = 1
    waits_known: bool = True

    @property
    def fits(self) -> bool:
        """Whether the model with its slots, and the prefixes over enough boxes, find room."""
        return self.boxes_for_memory is not None


def requests_per_second(work: Workload) -> float | None:
    """Mean arrivals a second; ``None`` when the scenario does not say how much there is."""
    if work.agents is not None:
        return work.agents * work.wakes_per_hour * work.calls_per_wake / 3600
    if work.requests_per_day is not None:
        return work.requests_per_day / SECONDS_PER_DAY
    if work.tokens_monthly is not None:
        return work.tokens_monthly / (work.input_tokens + work.output_tokens) / SECONDS_PER_MONTH
    return None


def tokens_monthly(work: Workload) -> Tokens | None:
    """M, in months of 730 hours."""
    if work.tokens_monthly is not None:
        return work.tokens_monthly
    rate = requests_per_second(work)
    return None if rate is None else round(rate * HOURS_PER_MONTH * 3600 * (work.input_tokens + work.output_tokens))


def box_speed(
    scenario: Scenario, listed: ListedShape, machine: Machine | None, measured: Sequence[Measurement] = ()
) -> BoxSpeed | None:
    """The best-founded speeds: configured or measured before published, inferred, roofline; ``None`` without prefill.

    Prefill has no roofline here: its efficiency lies anywhere from 0.19 to 0.81, and the catalogue has no FLOPS that
    would deserve the name of a source.
    """
    serving, work = scenario.serving, scenario.workload
    own = newest(measured, machine=None if machine is None else machine.key, shape=listed.key)
    if own is not None and serving.prefill_tokens_per_second is None and serving.decode_tokens_per_second is None:
        return measured_speed(
            own,
            input_tokens=work.input_tokens,
            output_tokens=work.output_tokens,
            slots=serving.slots,
            shape=listed.shape,
        )
    prefill, decode = [], []
    if serving.prefill_tokens_per_second is not None:
        prefill.append(Speed(serving.prefill_tokens_per_second, Basis.CONFIGURED, "scenario"))
    if serving.decode_tokens_per_second is not None:
        decode.append(Speed(serving.decode_tokens_per_second, Basis.CONFIGURED, "scenario"))
    if machine is not None:
        known = machine.speed(listed.key)
        prefill += _speeds(known.prefill) if not prefill else []
        decode += _speeds(known.decode) if not decode else []
        bandwidth = float(machine.bandwidth_gb_s.value)
        decode.append(decode_roofline(listed.shape, bandwidth_gb_s=bandwidth, family=machine.family))
    chosen_prefill, chosen_decode = best(prefill), best(decode)
    if chosen_prefill is None or chosen_decode is None:
        return None
    return BoxSpeed(chosen_prefill, chosen_decode, listed.shape, overhead_seconds=serving.overhead_seconds)


def _speeds(figure: Figure | None) -> list[Speed]:
    return [] if figure is None else [Speed(float(figure.value), Basis(figure.kind), figure.source)]


def serve(
    scenario: Scenario, listed: ListedShape, machine: Machine | None, measured: Sequence[Measurement] = ()
) -> Serving:
    """Put the scenario's load on boxes."""
    work, serving = scenario.workload, scenario.serving
    resident = (work.agents or 0) * round(work.prefix_tokens * work.local_hit_rate)
    memory = memory_need(
        listed.shape,
        context_tokens=serving.context_tokens,
        slots=serving.slots,
        resident_tokens=resident,
        flash_attention=serving.flash_attention,
    )
    usable_gib = None if machine is None else machine.usable_memory_gib
    by_memory = 1 if usable_gib is None else boxes_for_memory(memory, int(usable_gib * GIB))
    speed = box_speed(scenario, listed, machine, measured)
    if speed is None:
        return Serving(None, memory, usable_gib, boxes_for_memory=by_memory)

    rate = requests_per_second(work)
    hit_tokens = float(work.prefix_tokens * work.local_hit_rate)
    shares = (
        ("without reuse", 0.0),
        (f"with {REUSE_SHOWN:.0%} of the prompt resident", float(work.input_tokens * REUSE_SHOWN)),
        ("as planned", hit_tokens),
    )
    reuse = tuple(_case(name, hit, scenario, speed, rate or 0.0) for name, hit in shares)
    planned = reuse[-1]
    needed = waited = None
    if rate is not None:
        peak = rate * work.peak_factor
        busy = busy_boxes(peak, planned.seconds_per_request)
        by_utilisation = boxes_at(busy, serving.utilisation)
        by_wait, waited = _by_wait(scenario, speed, peak, hit_tokens, by_utilisation)
        needed = BoxesNeeded(busy, by_utilisation, by_wait, by_memory)
    return Serving(
        speed=speed,
        memory=memory,
        usable_gib=usable_gib,
        seconds_per_request=planned.seconds_per_request,
        capacity_tokens=planned.capacity_tokens,
        reuse=reuse,
        needed=needed,
        wait_p95_seconds=waited,
        boxes_for_memory=by_memory,
    )


def _case(name: str, hit_tokens: float, scenario: Scenario, speed: BoxSpeed, rate: float) -> ReuseCase:
    work, utilisation = scenario.workload, scenario.serving.utilisation
    mean_utilisation = utilisation / work.peak_factor
    computed = work.input_tokens - hit_tokens
    alone = speed.seconds(computed, work.output_tokens, context_tokens=work.input_tokens)
    seconds = alone if scenario.serving.slots == 1 else _seconds_shared(alone, computed, scenario.serving.slots, speed)
    busy = busy_boxes(rate * work.peak_factor, seconds)
    return ReuseCase(
        name=name,
        computed_input_tokens=computed,
        seconds_per_request=seconds,
        busy_boxes=busy,
        boxes=boxes_at(busy, utilisation),
        capacity_tokens=capacity_tokens(seconds, work.input_tokens + work.output_tokens, mean_utilisation),
    )


def _seconds_shared(alone: Seconds, computed: float, slots: int, speed: BoxSpeed) -> Seconds:
    """Box time of a request when the slots are full: decode is shared by all, prefill by none."""
    prefill = computed / speed.prefill.tokens_per_second
    return prefill + (alone - prefill) * speed.parallel_slowdown(slots) / slots


def _by_wait(
    scenario: Scenario, speed: BoxSpeed, peak: float, hit_tokens: float, at_least: int
) -> tuple[int | None, Seconds | None]:
    """The fewest boxes whose p95 wait keeps the limit, by replaying seeded Poisson arrivals at the peak rate."""
    work, serving = scenario.workload, scenario.serving
    count = int(min(MOST_REPLAYED, max(1.0, peak * REPLAYED_SECONDS)))
    rng = np.random.default_rng(scenario.doubt.seed)
    computed = work.input_tokens - hit_tokens
    prefill = computed / speed.prefill.tokens_per_second
    decode = speed.seconds(computed, work.output_tokens, context_tokens=work.input_tokens) - prefill
    at = np.cumsum(rng.exponential(1 / peak, count))
    arrivals = Arrivals(at, np.full(count, prefill), np.full(count, decode))
    found = boxes_for_wait(
        lambda boxes: replay(arrivals, boxes, slots=serving.slots, decode_to_prefill=speed.batch_cost),
        at_least=at_least,
        limit_seconds=serving.max_wait_seconds,
    )
    return (None, None) if found is None else (found.boxes, found.wait_quantile(0.95))
