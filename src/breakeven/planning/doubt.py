"""From a scenario to what is drawn at random and what is not. Floating point: these are statistics, not bills."""

from __future__ import annotations

from breakeven.catalog.machines import BoxFigures
from breakeven.economics.local import BoxCost
from breakeven.economics.service import Basis, BoxSpeed, Speed
from breakeven.economics.spread import Fixed, Normal, Spread, Triangular
from breakeven.economics.uncertainty import Certain, Uncertain
from breakeven.planning.scenario import Scenario
from breakeven.units import Tokens, Usd

MEASURED_SPREAD = 0.05
"""Spread of a speed measured on the machine itself or on one like it."""


def certain(scenario: Scenario, cost: BoxCost, cloud_usd_per_million: Usd) -> Certain:
    """What is not drawn.

    With escalation, both sides pay the cloud for the escalated share, so only the rest of its price is at stake.
    """
    work, serving, escalation = scenario.workload, scenario.serving, scenario.escalation
    at_stake = cloud_usd_per_million * (1 - escalation.share) - escalation.rework_usd_per_million
    return Certain(
        purchase_usd=float(cost.purchase_usd),
        term_months=cost.term_months,
        idle_watts=float(cost.idle_watts),
        load_watts=float(cost.load_watts),
        prefill_per_request=float(work.input_tokens),
        output_per_request=float(work.output_tokens),
        cloud_usd_per_million=max(0.0, float(at_stake)),
        prefix_per_request=float(work.prefix_tokens),
        capital_rate_monthly=float(cost.capital_rate_monthly),
        pue=float(cost.pue),
        care_usd_monthly=float(cost.care_usd_monthly),
        utilisation=serving.utilisation / work.peak_factor,
        overhead_seconds=serving.overhead_seconds,
    )


def uncertain(scenario: Scenario, speed: BoxSpeed, cost: BoxCost, figures: BoxFigures, volume: Tokens) -> Uncertain:
    """What is drawn: around each central value by the scenario's shares."""
    doubt, work = scenario.doubt, scenario.workload
    tariff = figures.usd_per_kwh.value
    resale_most = max(float(cost.purchase_usd) * doubt.resale, float(cost.resale_usd))
    hit = float(work.local_hit_rate)
    context = work.input_tokens + work.output_tokens / 2
    slots = scenario.serving.slots
    decode = speed.decode_tokens_per_second(context) * slots / speed.parallel_slowdown(slots)
    return Uncertain(
        prefill_tokens_per_second=_relative(speed.prefill.tokens_per_second, _speed_spread(speed.prefill, doubt.speed)),
        decode_tokens_per_second=_relative(decode, _speed_spread(speed.decode, doubt.speed)),
        tokens_monthly=_relative(float(volume), doubt.volume),
        price_decay_yearly=_between(*scenario.cloud.price_decay_yearly),
        resale_usd=_between(min(0.0, resale_most), float(cost.resale_usd), resale_most),
        local_hit_rate=_between(max(0.0, hit - doubt.hit_rate), hit, min(1.0, hit + doubt.hit_rate))
        if work.prefix_tokens
        else Fixed(hit),
        usd_per_kwh=_relative(float(tariff), doubt.usd_per_kwh),
    )


def _speed_spread(speed: Speed, share: float) -> float:
    return min(share, MEASURED_SPREAD) if speed.basis in {Basis.MEASURED, Basis.CONFIGURED} else share


def _relative(central: float, share: float) -> Spread:
    """Normal with this relative deviation, cut at three deviations and above zero."""
    if not central or not share:
        return Fixed(central)
    width = central * share
    return Normal(central, width, max(central * 0.05, central - 3 * width), central + 3 * width)


def _between(low: float, likely: float, high: float) -> Spread:
    return Fixed(likely) if low == high else Triangular(low, likely, high)
