"""Every figure a plan rests on, with its unit and its source or the word "assumed"."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from breakeven.catalog.figures import Figure
from breakeven.catalog.machines import BoxFigures
from breakeven.catalog.shapes import ListedShape
from breakeven.economics.assumptions import ASSUMED, Assumption
from breakeven.economics.service import BoxSpeed
from breakeven.planning.clouds import PricedModel
from breakeven.planning.scenario import Scenario
from breakeven.units import HOURS_PER_MONTH

SCENARIO = "scenario"


def assumptions(
    scenario: Scenario,
    listed: ListedShape,
    figures: BoxFigures,
    speed: BoxSpeed | None,
    rivals: tuple[PricedModel, ...],
    priced_on: date,
    *,
    counted_in: str | None = None,
) -> tuple[Assumption, ...]:
    """The list, the user's own inputs first; a price its book does not date carries the day it was looked up.

    ``counted_in`` is where the workload was counted; ``None`` when the scenario says it, or it is assumed.
    """
    work, box, serving, cloud = scenario.workload, scenario.box, scenario.serving, scenario.cloud
    chosen = scenario.model_fields_set
    decay = "{0:g} to {2:g}, likely {1:g}".format(*cloud.price_decay_yearly)

    def work_said(field: str, name: str, unit: str = "") -> Assumption:
        if counted_in is None:
            return said("workload", getattr(work, field), name, field, unit)
        return Assumption(name, getattr(work, field), unit, f"counted: {counted_in}")

    def said(section: str, value: Decimal | float | str | None, name: str, field: str, unit: str = "") -> Assumption:
        table = getattr(scenario, section)
        given = section in chosen and field in table.model_fields_set
        return Assumption(name, value, unit, SCENARIO if given else ASSUMED)

    rows = [
        work_said("input_tokens", "prompt of a request", "tokens"),
        work_said("output_tokens", "output of a request", "tokens"),
        work_said("prefix_tokens", "prompt that comes again", "tokens"),
        work_said("local_hit_rate", "found in the box's KV cache", "share"),
        work_said("cloud_hit_rate", "found in the provider's cache", "share"),
        work_said("peak_factor", "busiest hour over the mean"),
        said("serving", serving.utilisation, "utilisation planned with", "utilisation", "share"),
        said("serving", serving.slots, "requests a box serves at once", "slots"),
        said("serving", serving.max_wait_seconds, "longest wait of 95 % of requests", "max_wait_seconds", "s"),
        said("serving", serving.context_tokens, "context of a slot", "context_tokens", "tokens"),
        said("box", box.term_months, "term", "term_months", "months"),
        said("box", box.resale_usd, "resale at its end", "resale_usd", "$"),
        said("box", box.capital_rate_yearly, "cost of capital", "capital_rate_yearly", "share/year"),
        said("box", box.care_hours_monthly, "care", "care_hours_monthly", "h/month"),
        said("box", box.upkeep_usd_monthly, "upkeep besides", "upkeep_usd_monthly", "$/month"),
        said("cloud", decay, "price decay of the cloud", "price_decay_yearly", "share/year"),
        said("escalation", scenario.escalation.share, "escalated to the cloud, paid twice", "share", "share"),
        said("doubt", scenario.doubt.speed, "speeds drawn around, unless measured", "speed", "±share"),
        said("doubt", scenario.doubt.volume, "volume drawn around", "volume", "±share"),
        said("doubt", scenario.doubt.usd_per_kwh, "tariff drawn around", "usd_per_kwh", "±share"),
        said("doubt", scenario.doubt.hit_rate, "hit rate drawn around", "hit_rate", "±points"),
        said("doubt", scenario.doubt.resale, "resale drawn up to", "resale", "share of the price"),
        Assumption("month", HOURS_PER_MONTH, "h", "8,760 h / 12"),
        _figure("price of a box", figures.purchase_usd, "$"),
        _figure("idle draw", figures.idle_watts, "W"),
        _figure("draw while serving", figures.load_watts, "W"),
        _figure("electricity", figures.usd_per_kwh, "$/kWh"),
        Assumption("weights", listed.shape.weight_bytes, "bytes", listed.source, listed.as_of),
    ]
    if speed is not None:
        for name, known in (("prefill", speed.prefill), ("decode", speed.decode)):
            source = f"{known.basis}: {known.source}; holds to {known.holds_to_tokens:,} tokens of context"
            rows.append(Assumption(name, known.tokens_per_second, "tok/s", source))
    for rival in rivals:
        dated = (rival.effective or priced_on).isoformat()
        rows.append(Assumption(f"{rival.name}, this mix", rival.usd_per_million, "$/M tokens", rival.source, dated))
    rows.append(Assumption("time to first token in the cloud", 1.0, "s"))
    if counted_in is None:
        rows.append(Assumption("arrivals", "random (Poisson) at the busiest hour's rate, seeded"))
    else:
        rows.append(Assumption("arrivals", "replayed as they came", source=f"counted: {counted_in}"))
    return tuple(rows)


def _figure(name: str, figure: Figure | None, unit: str) -> Assumption:
    if figure is None:
        return Assumption(name, None, unit, "unknown")
    reach = "" if figure.low == figure.high else f" ({figure.low} to {figure.high}, midpoint taken)"
    return Assumption(name, figure.value, unit, f"{figure.kind}: {figure.source}{reach}", figure.as_of)
