"""A scenario answered: verdict, monthly costs, capacity, boxes, intervals, doubt, all with what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import numpy as np

from breakeven.catalog.figures import Figure
from breakeven.catalog.machines import BoxFigures, Machine, box_cost, box_figures
from breakeven.catalog.measurements import Measurement
from breakeven.catalog.shapes import ListedShape, find_shape
from breakeven.catalog.tariffs import find_tariff
from breakeven.economics.assumptions import Assumption
from breakeven.economics.curve import LocalCurve, WinningIntervals, crossing_tokens, winning_intervals
from breakeven.economics.horizon import Purchase, monthly_decay
from breakeven.economics.hybrid import with_escalation
from breakeven.economics.local import BoxCost
from breakeven.economics.uncertainty import Certain, Likelihood, Uncertain, likelihood
from breakeven.economics.verdict import Question, Verdict, VerdictKind, decide
from breakeven.errors import ScenarioError
from breakeven.planning import doubt
from breakeven.planning.alternatives import Alternatives, alternatives
from breakeven.planning.assumptions import assumptions
from breakeven.planning.burst import BurstCase, bursts
from breakeven.planning.clouds import PricedModel, Prices, rivals
from breakeven.planning.scenario import Box, Scenario, Workload
from breakeven.planning.serving import Serving, serve, tokens_monthly
from breakeven.units import TOKENS_PER_MILLION, Tokens, Usd, usd


@dataclass(frozen=True, slots=True)
class LocalSide:
    """What the boxes cost.

    Attributes:
        cost: of one box.
        curve: the sawtooth, escalation included; ``None`` when the box's speed is unknown.
        hardware_usd_monthly: H, amortisation of one box.
        idle_usd_monthly / care_usd_monthly: of one box.
        energy_usd_per_million: marginal electricity.
    """

    cost: BoxCost
    curve: LocalCurve | None
    hardware_usd_monthly: Usd
    idle_usd_monthly: Usd
    care_usd_monthly: Usd
    energy_usd_per_million: Usd | None


@dataclass(frozen=True, slots=True)
class Rivalry:
    """One model in the cloud against the box.

    Attributes:
        usd_monthly: at the volume asked about.
        burst_usd: of one burst of topics.
        crossing_tokens: where one box would break even if it could serve so much; ``None`` when no volume helps.
        intervals: volumes at which local wins; ``None`` when either price is unknown.
    """

    model: PricedModel
    usd_monthly: Usd | None
    burst_usd: Usd | None
    crossing_tokens: Tokens | None
    intervals: WinningIntervals | None


@dataclass(frozen=True, slots=True)
class Horizon:
    """Buying so many boxes today against paying the frontier as one goes."""

    boxes: int
    net_present_value_usd: Usd
    payback_month: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer."""

    scenario: Scenario
    at: datetime
    machine: Machine | None
    model: ListedShape
    tokens_monthly: Tokens | None
    verdict: Verdict
    serving: Serving
    local: LocalSide | None
    rivals: tuple[Rivalry, ...]
    alternatives: Alternatives | None
    horizon: Horizon | None
    likelihood: Likelihood | None
    bursts: tuple[BurstCase, ...]
    missing: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    certain: Certain | None = None
    uncertain: Uncertain | None = None

    @property
    def frontier(self) -> Rivalry:
        """The rival the verdict is about."""
        return self.rivals[0]


def make_plan(scenario: Scenario, prices: Prices, at: datetime, measured: Sequence[Measurement] = ()) -> Plan:
    """Answer a scenario at the prices of a day, with the speeds measured on machines of one's own where there are any.

    Raises:
        UnknownMachine, UnknownModel: when the scenario names what the catalogue does not have.
        ScenarioError: when the machine's context or the tariff does not exist.
    """
    listed = find_shape(scenario.serving.model)
    _check_context(scenario, listed)
    figures, cost = box_of(scenario.box)
    return answer(
        Findings(
            scenario=scenario,
            at=at,
            model=listed,
            figures=figures,
            cost=cost,
            serving=serve(scenario, listed, figures.machine, measured),
            priced=rivals(scenario, listed, prices, at),
            tokens_monthly=tokens_monthly(scenario.workload),
            tokens_per_request=Decimal(scenario.workload.input_tokens + scenario.workload.output_tokens),
        )
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What a load comes to on boxes and in clouds, from which the answer follows.

    Attributes:
        figures / cost: of one box; ``cost`` is ``None`` when something of it is unknown.
        priced: the cloud's models, the frontier first.
        tokens_per_request: mean of prompt and output.
        counted_in: where the workload was counted, for the list of assumptions; ``None``: the scenario says it.
    """

    scenario: Scenario
    at: datetime
    model: ListedShape
    figures: BoxFigures
    cost: BoxCost | None
    serving: Serving
    priced: tuple[PricedModel, ...]
    tokens_monthly: Tokens | None
    tokens_per_request: Decimal
    counted_in: str | None = None


def answer(found: Findings) -> Plan:
    """Verdict, curves, intervals, doubt and alternatives of what was found."""
    scenario, figures, cost = found.scenario, found.figures, found.cost
    serving, priced, volume = found.serving, found.priced, found.tokens_monthly
    local = None if cost is None else _local_side(found, cost)
    curve = None if local is None or not serving.fits else local.curve

    certain, uncertain, sure = _draw(scenario, figures, cost, serving, priced[0], volume)
    listed_assumptions = assumptions(
        scenario, found.model, figures, serving.speed, priced, found.at.date(), counted_in=found.counted_in
    )
    by_role = {model.role: model.option for model in priced}
    verdict = decide(
        Question(
            tokens_monthly=volume,
            local=curve,
            purchase_usd=Decimal(0) if cost is None else cost.purchase_usd,
            frontier=priced[0].option,
            hosted_same_model=by_role.get("hosted"),
            small_frontier=by_role.get("small"),
            boxes=scenario.box.count,
            boxes_needed=serving.needed.boxes if serving.needed else None,
            probability_local_wins=None if sure is None else sure.probability_local_wins,
            quality_measured=scenario.escalation.quality_measured,
            local_model=found.model.name,
            assumptions=listed_assumptions,
        )
    )
    if not serving.fits:
        verdict = _unfit(serving, found.model, figures, verdict)
    horizon = _horizon(scenario, cost, local, serving, priced[0], volume)
    verdict = replace(verdict, caveats=(*verdict.caveats, *_caveats(scenario, serving, horizon)))
    return Plan(
        scenario=scenario,
        at=found.at,
        machine=figures.machine,
        model=found.model,
        tokens_monthly=volume,
        verdict=verdict,
        serving=serving,
        local=local,
        rivals=tuple(_against(model, curve, volume, scenario.workload) for model in priced),
        alternatives=_alternatives(found, curve),
        horizon=horizon,
        likelihood=sure,
        bursts=bursts(scenario, serving.speed),
        missing=figures.missing,
        assumptions=listed_assumptions,
        certain=certain,
        uncertain=uncertain,
    )


def _caveats(scenario: Scenario, serving: Serving, horizon: Horizon | None) -> tuple[str, ...]:
    """What volume and price alone do not show: one agent's own pace, and a purchase that prices run away from."""
    found = []
    work = scenario.workload
    if work.agents is not None and serving.seconds_per_request is not None:
        chain, interval = work.calls_per_wake * serving.seconds_per_request, 3600 / work.wakes_per_hour
        if chain > interval:
            found.append(
                f"A box is too slow even for a single agent: the calls of one wake take {chain:,.0f} s, one after the"
                f" other, and it wakes every {interval:,.0f} s."
            )
    if horizon is not None and scenario.box.purchase_usd != 0 and horizon.net_present_value_usd < 0:
        likely = scenario.cloud.price_decay_yearly[1]
        found.append(
            f"With cloud prices that fall by {likely:.0%} a year, buying {horizon.boxes} now loses"
            f" {usd(-horizon.net_present_value_usd, 0)} over {scenario.box.term_months} months against the frontier."
        )
    return tuple(found)


def _unfit(serving: Serving, listed: ListedShape, figures: BoxFigures, verdict: Verdict) -> Verdict:
    """The verdict where the model does not fit: no number of these boxes, nor any speed, changes that."""
    name = figures.machine.name if figures.machine else "the box"
    sentence = (
        f"Infeasible: {listed.name} takes {serving.memory.total_gib:.1f} GiB, and {name} has"
        f" {serving.usable_gib:.0f} GiB usable; no number of them helps."
    )
    return replace(verdict, kind=VerdictKind.INFEASIBLE, sentence=sentence)


def _check_context(scenario: Scenario, listed: ListedShape) -> None:
    most = listed.shape.max_context_tokens
    if scenario.serving.context_tokens > most:
        allowed = f"256 to {most}, the most {listed.name} takes"
        raise ScenarioError("serving.context_tokens", scenario.serving.context_tokens, allowed)


def box_of(box: Box) -> tuple[BoxFigures, BoxCost | None]:
    """The figures of a scenario's box, and what it costs; ``None`` when something needed for that is unknown."""
    settings = box.settings()
    price = box_figures(settings).purchase_usd
    if price is not None and box.resale_usd > price.value:
        raise ScenarioError("box.resale_usd", str(box.resale_usd), f"0 to {price.value}, the price of the box")
    if box.tariff is None:
        return box_figures(settings), box_cost(settings)
    tariff: Figure = find_tariff(box.tariff).usd_per_kwh
    priced = settings.model_copy(update={"usd_per_kwh": tariff.value})
    figures = box_figures(priced)
    named = BoxFigures(figures.machine, figures.purchase_usd, figures.idle_watts, figures.load_watts, tariff)
    return named, box_cost(priced)


def _local_side(found: Findings, cost: BoxCost) -> LocalSide:
    scenario, serving, frontier = found.scenario, found.serving, found.priced[0]
    curve = energy = None
    if serving.seconds_per_request is not None and serving.capacity_tokens:
        watt_hours = (cost.load_watts - cost.idle_watts) * Decimal(str(serving.seconds_per_request)) / 3600
        energy = cost.energy_usd(watt_hours) / found.tokens_per_request * TOKENS_PER_MILLION
        curve = LocalCurve(cost.fixed_usd_monthly, energy, serving.capacity_tokens)
        escalation = scenario.escalation
        if escalation.share or escalation.rework_usd_per_million:
            if frontier.usd_per_million is None:
                curve = None
            else:
                curve = with_escalation(
                    curve,
                    share=escalation.share,
                    cloud_usd_per_million=frontier.usd_per_million,
                    rework_usd_per_million=escalation.rework_usd_per_million,
                )
    return LocalSide(
        cost=cost,
        curve=curve,
        hardware_usd_monthly=cost.amortisation_usd_monthly,
        idle_usd_monthly=cost.idle_usd_monthly,
        care_usd_monthly=cost.care_usd_monthly,
        energy_usd_per_million=energy,
    )


def _against(model: PricedModel, curve: LocalCurve | None, volume: Tokens | None, work: Workload) -> Rivalry:
    cloud = model.option.curve
    if cloud is None:
        return Rivalry(model, None, None, None, None)
    usd_monthly = None if volume is None else cloud.usd_monthly(volume)
    per_request = model.usd_per_request
    burst_usd = None if per_request is None else work.burst_topics * work.calls_per_wake * per_request
    if curve is None:
        return Rivalry(model, usd_monthly, burst_usd, None, None)
    crossing = crossing_tokens(curve, cloud)
    at = None if crossing is None else int(crossing)
    return Rivalry(model, usd_monthly, burst_usd, at, winning_intervals(curve, cloud))


def _alternatives(found: Findings, curve: LocalCurve | None) -> Alternatives | None:
    volume, needed = found.tokens_monthly, found.serving.needed
    if curve is None or not volume or needed is None:
        return None
    requests = volume / found.tokens_per_request
    return alternatives(found.scenario, curve, found.priced[0], volume, requests, needed.boxes)


def _horizon(
    scenario: Scenario,
    cost: BoxCost | None,
    local: LocalSide | None,
    serving: Serving,
    frontier: PricedModel,
    volume: Tokens | None,
) -> Horizon | None:
    boxes = serving.needed.boxes if serving.needed else None
    if cost is None or local is None or local.curve is None or volume is None or boxes is None:
        return None
    if frontier.option.curve is None:
        return None
    marginal = volume * local.curve.usd_per_million / TOKENS_PER_MILLION
    purchase = Purchase(
        paid_usd=boxes * cost.purchase_usd,
        running_usd_monthly=boxes * (cost.idle_usd_monthly + cost.care_usd_monthly) + marginal,
        cloud_usd_monthly=frontier.option.curve.usd_monthly(volume),
        term_months=cost.term_months,
        price_decay_monthly=monthly_decay(Decimal(str(scenario.cloud.price_decay_yearly[1]))),
        capital_rate_monthly=cost.capital_rate_monthly,
        resale_usd=boxes * cost.resale_usd,
    )
    return Horizon(boxes, purchase.net_present_value_usd, purchase.payback_month)


def _draw(
    scenario: Scenario,
    figures: BoxFigures,
    cost: BoxCost | None,
    serving: Serving,
    frontier: PricedModel,
    volume: Tokens | None,
) -> tuple[Certain | None, Uncertain | None, Likelihood | None]:
    if cost is None or serving.speed is None or not serving.fits or frontier.usd_per_million is None or volume is None:
        return None, None, None
    certain = doubt.certain(scenario, cost, frontier.usd_per_million)
    uncertain = doubt.uncertain(scenario, serving.speed, cost, figures, volume)
    rng = np.random.default_rng(scenario.doubt.seed)
    return certain, uncertain, likelihood(certain, uncertain, rng, draws=scenario.doubt.draws)
