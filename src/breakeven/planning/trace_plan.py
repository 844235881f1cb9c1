"""Requests as they came, put through machines and price lists: boxes, waits, cost on both sides, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

import msgspec
import numpy as np

from breakeven.catalog.machines import Machine, find_machine
from breakeven.catalog.measurements import Measurement
from breakeven.catalog.shapes import ListedShape, find_shape
from breakeven.economics.bulk import NOBODY_SAID, TokenColumns, price_columns
from breakeven.economics.capacity import BoxesNeeded, capacity_tokens
from breakeven.economics.memory import memory_need
from breakeven.economics.rates import PriceRange, Rates, price_range
from breakeven.economics.verdict import VerdictKind
from breakeven.ledger.records import UsageBucket
from breakeven.planning.clouds import NOT_COMPARED, PricedModel, Prices
from breakeven.planning.plan import Findings, Plan, answer, box_of
from breakeven.planning.replaying import TraceOnMachine, context_of, on_machine
from breakeven.planning.scenario import Scenario, Workload
from breakeven.planning.serving import Serving, box_speed
from breakeven.planning.trace import LONGEST_OUTPUT, LONGEST_PROMPT, Trace
from breakeven.planning.volume import Volume
from breakeven.units import TOKENS_PER_MILLION, ZERO_USD, Usd, usd

MACHINES = ("m4-max-128", "m3-ultra-256", "2x-rtx-4090")
"""Replayed when the scenario names no machine."""
MOST_MONTHLY = 10**15
"""Tokens a month that a scenario takes."""
OTHER_MODELS = ("openai/gpt-6-luna",)
"""Priced besides the scenario's frontier and small models."""


@dataclass(frozen=True, slots=True)
class TraceInCloud:
    """The requests priced one by one with one model; ``None`` where its price is unknown.

    Attributes:
        role: ``frontier``, ``hosted`` or ``small``.
        usd: each request in its own tier, nothing cached where nobody said so; of sums the middle of their range.
        usd_least / usd_most: the same with sums in their lowest and in their highest tiers.
        usd_open_least / usd_open_most: bounds when what nobody said of caches and reasoning is left open as well.
        usd_monthly: a month of it.
    """

    role: str
    name: str
    source: str
    effective: date | None = None
    snapshot: str | None = None
    usd: Usd | None = None
    usd_least: Usd | None = None
    usd_most: Usd | None = None
    usd_open_least: Usd | None = None
    usd_open_most: Usd | None = None
    usd_monthly: Usd | None = None


@dataclass(frozen=True, slots=True)
class TracePlan:
    """The whole answer about requests as they came.

    Attributes:
        machines: on each machine asked about.
        plans: the answer for each of them, in the same order.
        clouds: with each model.
    """

    volume: Volume
    model: ListedShape
    at: datetime
    machines: tuple[TraceOnMachine, ...]
    plans: tuple[Plan, ...]
    clouds: tuple[TraceInCloud, ...]

    @property
    def trace(self) -> Trace:
        """The single requests."""
        return self.volume.trace

    @property
    def too_long(self) -> int:
        """Requests longer than the model's context: replayed as if they fitted, and to be said so."""
        lengths = self.trace.input_tokens + self.trace.output_tokens
        return int((lengths > self.model.shape.max_context_tokens).sum())


def plan_trace(
    trace: Trace, scenario: Scenario, prices: Prices, at: datetime, measured: Sequence[Measurement] = ()
) -> TracePlan:
    """As ``plan_volume``, for requests alone."""
    return plan_volume(Volume(trace), scenario, prices, at, measured)


def plan_volume(
    volume: Volume, scenario: Scenario, prices: Prices, at: datetime, measured: Sequence[Measurement] = ()
) -> TracePlan:
    """Replay requests through machines and price them with models, at the prices of a day.

    The scenario gives the model, the costs of the box, the planned utilisation, the wait allowed and the models to
    compare with; its workload is replaced by what was counted.

    Raises:
        UnknownMachine, UnknownModel: when the scenario names what the catalogue does not have.
    """
    listed, work = find_shape(scenario.serving.model), scenario.workload
    volume = replace(volume, tokens_of_untold_request=work.input_tokens + work.output_tokens)
    counted = _counted(volume, scenario, listed)
    machines = tuple(
        on_machine(volume, counted, listed, machine, measured) for machine in _machines(counted, listed, measured)
    )
    clouds = _in_clouds(volume, scenario, listed, prices, at)
    plans = tuple(_plan(volume, case, clouds, counted, listed, at) for case in machines)
    return TracePlan(volume, listed, at, machines, plans, clouds)


def _machines(scenario: Scenario, listed: ListedShape, measured: Sequence[Measurement]) -> tuple[Machine | None, ...]:
    if scenario.box.machine is not None:
        return (find_machine(scenario.box.machine),)
    if box_speed(scenario, listed, None, measured) is not None:
        return (None,)
    return tuple(find_machine(key) for key in MACHINES)


def _in_clouds(
    volume: Volume, scenario: Scenario, listed: ListedShape, prices: Prices, at: datetime
) -> tuple[TraceInCloud, ...]:
    cloud = scenario.cloud
    taken = _nothing_assumed_cached(volume.trace.tokens)

    def priced(role: str, name: str) -> TraceInCloud:
        provider, _, model = name.partition("/")
        row = prices.find(provider, model, at=at)
        if row is None:
            return TraceInCloud(role, name, "unknown")
        batch = prices.find(provider, model, at=at, batch=True)
        found = _priced(volume, taken, row.rates, row.rates if batch is None else batch.rates)
        return replace(
            found, role=role, name=name, source=row.source, effective=row.effective or at.date(), snapshot=row.snapshot
        )

    found = [priced("frontier", cloud.frontier) if cloud.usd_per_million is None else _what_if(volume, scenario)]
    if cloud.small != NOT_COMPARED:
        found.append(priced("small", cloud.small))
    found += [priced("small", name) for name in OTHER_MODELS if name != cloud.small]
    hosts = listed.hosted_as if cloud.hosted is None else () if cloud.hosted == NOT_COMPARED else (cloud.hosted,)
    hosted = [priced("hosted", name) for name in hosts]
    known = [(option.usd, number) for number, option in enumerate(hosted) if option.usd is not None]
    found += [hosted[min(known)[1]]] if known else hosted[:1]
    return tuple(found)


def _nothing_assumed_cached(tokens: TokenColumns) -> TokenColumns:
    """Where nobody said what was cached or reasoned, nothing was: the same for the box, which then reuses nothing."""
    return replace(
        tokens,
        reasoning=np.where(tokens.reasoning == NOBODY_SAID, 0, tokens.reasoning),
        cache_known=np.ones(len(tokens), dtype=np.bool_),
    )


def _priced(volume: Volume, taken: TokenColumns, rates: Rates, batch_rates: Rates) -> TraceInCloud:
    """The amounts only."""
    nothing = TraceInCloud("", "", "")
    calls, open_calls = price_columns(taken, rates), price_columns(volume.trace.tokens, rates)
    if calls.unknown_calls:
        return nothing
    least = most = calls.usd
    open_least, open_most = open_calls.least, open_calls.most
    for bucket in volume.buckets:
        of_it = _bucket_ranges(bucket, batch_rates if bucket.batch else rates)
        if of_it is None:
            return nothing
        closed, left_open = of_it
        least, most = least + closed.least, most + closed.most
        open_least, open_most = open_least + left_open.least, open_most + left_open.most
    middle = (least + most) / 2
    return replace(
        nothing,
        usd=middle,
        usd_least=least,
        usd_most=most,
        usd_open_least=open_least,
        usd_open_most=open_most,
        usd_monthly=middle / volume.months,
    )


def _bucket_ranges(bucket: UsageBucket, rates: Rates) -> tuple[PriceRange, PriceRange] | None:
    """What a sum can have cost with nothing cached where nobody said so, and with that left open."""
    if bucket.tokens is None:
        return None
    reasoning = 0 if bucket.tokens.reasoning is None else bucket.tokens.reasoning
    closed = price_range(
        msgspec.structs.replace(bucket.tokens, cache_known=True, reasoning=reasoning), rates, calls=bucket.requests
    )
    left_open = price_range(bucket.tokens, rates, calls=bucket.requests)
    return None if closed is None or left_open is None else (closed, left_open)


def _what_if(volume: Volume, scenario: Scenario) -> TraceInCloud:
    blended = scenario.cloud.usd_per_million or ZERO_USD
    cost = volume.tokens * blended / TOKENS_PER_MILLION
    return TraceInCloud(
        role="frontier",
        name=f"a blended ${blended}/M",
        source="assumed: a what-if",
        usd=cost,
        usd_least=cost,
        usd_most=cost,
        usd_open_least=cost,
        usd_open_most=cost,
        usd_monthly=cost / volume.months,
    )


def _plan(
    volume: Volume,
    case: TraceOnMachine,
    clouds: tuple[TraceInCloud, ...],
    scenario: Scenario,
    listed: ListedShape,
    at: datetime,
) -> Plan:
    """The answer for one machine: what was counted takes the place of the scenario's workload."""
    counted = scenario
    if case.machine is not None:
        counted = scenario.model_copy(update={"box": scenario.box.model_copy(update={"machine": case.machine.key})})
    figures, cost = box_of(counted.box)
    findings = Findings(
        scenario=counted,
        at=at,
        model=listed,
        figures=figures,
        cost=cost,
        serving=_serving(volume, case, counted, listed),
        priced=_rivals(volume, clouds, "usd"),
        tokens_monthly=volume.tokens_monthly,
        tokens_per_request=Decimal(volume.tokens) / volume.requests,
        counted_in=volume.trace.name,
    )
    plan = answer(findings)
    if volume.trace.format == "usage":
        plan = _only_with_evidence(plan, findings, volume, clouds)
    return replace(plan, verdict=replace(plan.verdict, caveats=(*plan.verdict.caveats, *notes(volume, case))))


def _counted(volume: Volume, scenario: Scenario, listed: ListedShape) -> Scenario:
    """The scenario with the means of what was counted as its workload; priced and replayed are the calls themselves."""
    tokens, requests, summed = volume.trace.tokens, volume.requests, volume.summed
    read = tokens.total("cache_read") + summed.cache_read
    prompts = sum(tokens.total(name) for name in ("uncached_input", "cache_write_5m", "cache_write_1h")) + read
    prompts += summed.input - summed.cache_read
    mean_output = min(round((tokens.total("output") + summed.output) / requests), LONGEST_OUTPUT)
    mean_input = min(max(round(prompts / requests), 0 if mean_output else 1), LONGEST_PROMPT)
    work = Workload(
        tokens_monthly=min(max(1, volume.tokens_monthly), MOST_MONTHLY),
        input_tokens=mean_input,
        output_tokens=mean_output,
        prefix_tokens=min(round(read / requests), mean_input),
        local_hit_rate=Decimal(1 if read else 0),
        cloud_hit_rate=Decimal(1 if read else 0),
        burst_topics=scenario.workload.burst_topics,
        calls_per_wake=scenario.workload.calls_per_wake,
    )
    serving = scenario.serving.model_copy(update={"context_tokens": context_of(volume.trace, scenario, listed)})
    name = scenario.name if "name" in scenario.model_fields_set else f"As counted in {volume.trace.name}"
    return scenario.model_copy(update={"name": name, "workload": work, "serving": serving})


def _serving(volume: Volume, case: TraceOnMachine, scenario: Scenario, listed: ListedShape) -> Serving:
    serving = scenario.serving
    memory = memory_need(
        listed.shape,
        context_tokens=serving.context_tokens,
        slots=serving.slots,
        flash_attention=serving.flash_attention,
    )
    if case.busy_boxes is None or case.by_utilisation is None or case.seconds_per_request is None:
        return Serving(case.speed, memory, case.usable_memory_gib, boxes_for_memory=case.by_memory or 1)
    return Serving(
        speed=case.speed,
        memory=memory,
        usable_gib=case.usable_memory_gib,
        seconds_per_request=case.seconds_per_request,
        capacity_tokens=capacity_tokens(case.seconds_per_request, volume.tokens / volume.requests, serving.utilisation),
        needed=BoxesNeeded(case.busy_boxes, case.by_utilisation, case.by_wait, case.by_memory),
        wait_p95_seconds=case.wait_p95_seconds,
        boxes_for_memory=case.by_memory,
        waits_known=case.replayed > 0,
    )


def _rivals(volume: Volume, clouds: tuple[TraceInCloud, ...], amount: str) -> tuple[PricedModel, ...]:
    """The frontier, the hosted same model and the first small model, priced for exactly these requests."""
    chosen: dict[str, TraceInCloud] = {}
    for cloud in clouds:
        chosen.setdefault(cloud.role, cloud)
    models = []
    for role in ("frontier", "hosted", "small"):
        found = chosen.get(role)
        if found is None:
            continue
        cost: Usd | None = getattr(found, amount)
        models.append(
            PricedModel(
                role=role,
                name=found.name,
                usd_per_million=None if cost is None else cost / volume.tokens * TOKENS_PER_MILLION,
                usd_per_request=None if cost is None else cost / volume.requests,
                source=found.source,
                effective=found.effective,
                snapshot=found.snapshot,
            )
        )
    return tuple(models)


def _only_with_evidence(plan: Plan, findings: Findings, volume: Volume, clouds: tuple[TraceInCloud, ...]) -> Plan:
    """No verdict on too little, nor where the range of what is known as sums decides it."""
    verdict = plan.verdict
    why = volume.thin
    frontier = clouds[0]
    if why is None and frontier.usd_least != frontier.usd_most:
        ends = [
            answer(replace(findings, priced=_rivals(volume, clouds, end))).verdict.kind
            for end in ("usd_least", "usd_most")
        ]
        if len({*ends, verdict.kind}) > 1:
            why = (
                f"what is known as sums only would cost {usd(frontier.usd_least)} to {usd(frontier.usd_most)} with"
                f" {frontier.name}, and the ends of that range say different things"
            )
    if why is None:
        return plan
    if verdict.kind is VerdictKind.NOT_ENOUGH_EVIDENCE:
        caveat = f"{why[0].upper()}{why[1:]}."
        return replace(plan, verdict=replace(verdict, caveats=(caveat, *verdict.caveats)))
    sentence = f"Not enough evidence: {why}. If it went on like this: {verdict.sentence}"
    return replace(plan, verdict=replace(verdict, kind=VerdictKind.NOT_ENOUGH_EVIDENCE, sentence=sentence))


def notes(volume: Volume, case: TraceOnMachine) -> tuple[str, ...]:
    """What the figures leave out or take for granted, each in a sentence."""
    trace, found = volume.trace, []
    if trace.reuse_untold == len(trace) and len(trace):
        found.append("The source does not say what was cached: no prefix reuse is counted, on either side.")
    elif trace.reuse_untold:
        found.append(
            f"Nobody said what was cached of {trace.reuse_untold:,} requests: there no reuse is counted, on either side"
        )
    if trace.uncounted:
        found.append(
            f"{trace.uncounted:,} requests are left out whose tokens nobody counted, or nobody can have counted right."
        )
    if volume.buckets:
        share = volume.summed.total / max(1, volume.tokens)
        found.append(
            f"{share:.0%} of the tokens are known as sums only: their price is the middle of a range, and waits are"
            " those of the other requests."
            if len(trace)
            else "Everything is known as sums only: prices are the middle of a range, and waits are unknown."
        )
    if volume.untold_requests:
        found.append(
            f"{volume.untold_requests:,} sums do not tell their requests:"
            f" {volume.tokens_of_untold_request:,} tokens each are assumed."
        )
    if 0 < case.replayed < len(trace):
        found.append(f"Waits are those of the busiest {case.replayed:,} requests in a row.")
    return tuple(found)
