"""A plan as a document for machines: plain keys, units in their names, money exact, unknown as null."""

from __future__ import annotations

from typing import Any

from breakeven.economics.curve import WinningIntervals
from breakeven.planning.explain import the_load, why_reuse
from breakeven.planning.plan import LocalSide, Plan, Rivalry
from breakeven.planning.serving import Serving, requests_per_second


def document(plan: Plan) -> dict[str, Any]:
    """Everything a plan says."""
    return {
        "scenario": plan.scenario.model_dump(mode="python"),
        "priced_on": plan.at.date().isoformat(),
        "machine": plan.machine and plan.machine.key,
        "model": plan.model.key,
        "verdict": {
            "kind": plan.verdict.kind.value,
            "sentence": plan.verdict.sentence,
            "local_usd_monthly": plan.verdict.local_usd_monthly,
            "frontier_usd_monthly": plan.verdict.frontier_usd_monthly,
            "caveats": list(plan.verdict.caveats),
        },
        "load": {
            "sentence": the_load(plan),
            "requests_per_second": requests_per_second(plan.scenario.workload),
            "tokens_monthly": plan.tokens_monthly,
        },
        "serving": _serving(plan.serving, why_reuse(plan)),
        "local": None if plan.local is None else _local(plan.local),
        "missing": [f"box.{key}" for key in plan.missing],
        "rivals": [_rival(rival) for rival in plan.rivals],
        "alternatives": _alternatives(plan),
        "horizon": plan.horizon
        and {
            "boxes": plan.horizon.boxes,
            "net_present_value_usd": plan.horizon.net_present_value_usd,
            "payback_month": plan.horizon.payback_month,
        },
        "likelihood": _likelihood(plan),
        "burst": [
            {"place": case.place, "seconds": case.seconds, "held_by": list(case.held_by), "source": case.source}
            for case in plan.bursts
        ],
        "assumptions": [
            {"name": a.name, "value": a.value, "unit": a.unit, "source": a.source, "dated": a.dated}
            for a in plan.assumptions
        ],
    }


def intervals(found: WinningIntervals | None) -> dict[str, Any] | None:
    """Winning intervals; ``last`` is null where there is no end."""
    if found is None:
        return None
    return {
        "tokens_monthly": [{"first": interval.first, "last": interval.last} for interval in found.intervals],
        "unlisted": found.unlisted,
    }


def _serving(serving: Serving, why: str | None) -> dict[str, Any]:
    speed, needed = serving.speed, serving.needed
    return {
        "prefill_tokens_per_second": speed and speed.prefill.tokens_per_second,
        "prefill_basis": speed and speed.prefill.basis.value,
        "decode_tokens_per_second": speed and speed.decode.tokens_per_second,
        "decode_basis": speed and speed.decode.basis.value,
        "seconds_per_request": serving.seconds_per_request,
        "capacity_tokens_monthly": serving.capacity_tokens,
        "memory_gib": serving.memory.total_gib,
        "usable_memory_gib": serving.usable_gib,
        "wait_p95_seconds": serving.wait_p95_seconds,
        "boxes": needed
        and {
            "needed": needed.boxes,
            "busy_at_100_percent": needed.busy_boxes,
            "by_utilisation": needed.by_utilisation,
            "by_wait": needed.by_wait,
            "by_memory": needed.by_memory,
        },
        "why_reuse": why,
        "reuse": [
            {
                "case": case.name,
                "computed_input_tokens": case.computed_input_tokens,
                "seconds_per_request": case.seconds_per_request,
                "boxes_at_100_percent": case.busy_boxes,
                "boxes": case.boxes,
                "capacity_tokens_monthly": case.capacity_tokens,
            }
            for case in serving.reuse
        ],
    }


def _local(local: LocalSide) -> dict[str, Any]:
    return {
        "hardware_usd_monthly": local.hardware_usd_monthly,
        "idle_usd_monthly": local.idle_usd_monthly,
        "care_usd_monthly": local.care_usd_monthly,
        "fixed_usd_monthly": local.cost.fixed_usd_monthly,
        "energy_usd_per_million_tokens": local.energy_usd_per_million,
    }


def _rival(rival: Rivalry) -> dict[str, Any]:
    model = rival.model
    return {
        "role": model.role,
        "model": model.name,
        "usd_per_million_tokens": model.usd_per_million,
        "usd_monthly": rival.usd_monthly,
        "burst_usd": rival.burst_usd,
        "one_box_breaks_even_at_tokens_monthly": rival.crossing_tokens,
        "local_wins": intervals(rival.intervals),
        "price_source": model.source,
        "price_effective": model.effective and model.effective.isoformat(),
        "price_snapshot": model.snapshot,
    }


def _alternatives(plan: Plan) -> dict[str, Any] | None:
    ways = plan.alternatives
    if ways is None:
        return None
    return {
        "all_local": {"boxes": ways.all_local_boxes, "usd_monthly": ways.all_local_usd_monthly},
        "overflow": {"boxes": ways.overflow_boxes, "usd_monthly": ways.overflow_usd_monthly},
        "usd_per_accepted_request": {"local_first": ways.accepted_local_usd, "cloud": ways.accepted_cloud_usd},
    }


def _likelihood(plan: Plan) -> dict[str, Any] | None:
    sure = plan.likelihood
    if sure is None:
        return None
    return {
        "probability_local_wins": sure.probability_local_wins,
        "draws": sure.draws,
        "saved_usd_monthly": {"p10": sure.saved_usd_low, "p50": sure.saved_usd_median, "p90": sure.saved_usd_high},
        "tornado": [
            {
                "name": swing.label,
                "unit": swing.unit,
                "low": swing.low_value,
                "high": swing.high_value,
                "saved_usd_at_low": swing.saved_usd_at_low,
                "saved_usd_at_high": swing.saved_usd_at_high,
            }
            for swing in sure.tornado
        ],
    }
