"""An answer about requests as they came, as a document for machines: plain keys, exact amounts, unknown as null."""

from __future__ import annotations

from typing import Any

from breakeven.planning.document import document, intervals
from breakeven.planning.plan import Plan
from breakeven.planning.replaying import TraceOnMachine
from breakeven.planning.trace_plan import TraceInCloud, TracePlan


def trace_document(plan: TracePlan) -> dict[str, Any]:
    """Everything it says; ``plan`` is the whole answer for a single machine, ``null`` where several are compared."""
    trace, volume = plan.trace, plan.volume
    return {
        "trace": {
            "file": trace.name,
            "format": trace.format,
            "requests": len(trace),
            "uncounted_requests": trace.uncounted,
            "skipped_lines": trace.skipped,
            "problems": list(trace.problems),
            "input_tokens": int(trace.input_tokens.sum()),
            "output_tokens": trace.tokens.total("output"),
            "reused_tokens": None if trace.reused_tokens is None else trace.tokens.total("cache_read"),
            "requests_with_reuse_untold": trace.reuse_untold,
            "span_seconds": trace.span_seconds,
            "longer_than_the_model_takes": plan.too_long,
            "peak_minute_over_mean": trace.peak_minute_factor,
        },
        "sums": {
            "buckets": len(volume.buckets),
            "requests": sum(bucket.requests or 0 for bucket in volume.buckets),
            "buckets_without_requests": volume.untold_requests,
            "tokens": volume.summed.total,
        },
        "tokens_monthly": volume.tokens_monthly,
        "thin": volume.thin if trace.format == "usage" else None,
        "model": plan.model.key,
        "priced_on": plan.at.date().isoformat(),
        "machines": [_machine(case, answer) for case, answer in zip(plan.machines, plan.plans, strict=True)],
        "clouds": [_cloud(case) for case in plan.clouds],
        "plan": document(plan.plans[0]) if len(plan.plans) == 1 else None,
    }


def _machine(case: TraceOnMachine, answer: Plan) -> dict[str, Any]:
    return {
        "machine": case.machine and case.machine.key,
        "verdict": answer.verdict.kind.value,
        "sentence": answer.verdict.sentence,
        "local_wins": intervals(answer.frontier.intervals),
        "prefill_tokens_per_second": case.speed and case.speed.prefill.tokens_per_second,
        "prefill_basis": case.speed and case.speed.prefill.basis.value,
        "decode_tokens_per_second": case.speed and case.speed.decode.tokens_per_second,
        "decode_basis": case.speed and case.speed.decode.basis.value,
        "memory_gib": case.memory_gib,
        "usable_memory_gib": case.usable_memory_gib,
        "boxes": case.boxes,
        "boxes_at_100_percent": case.busy_boxes,
        "boxes_by_utilisation": case.by_utilisation,
        "boxes_by_wait": case.by_wait,
        "boxes_by_memory": case.by_memory,
        "wait_p50_seconds": case.wait_p50_seconds,
        "wait_p95_seconds": case.wait_p95_seconds,
        "requests_replayed": case.replayed,
        "one_box_hours": case.one_box_hours,
        "usd_trace": case.usd_trace,
        "usd_monthly": case.usd_monthly,
    }


def _cloud(case: TraceInCloud) -> dict[str, Any]:
    return {
        "role": case.role,
        "model": case.name,
        "usd_trace": case.usd,
        "usd_least": case.usd_least,
        "usd_most": case.usd_most,
        "usd_least_if_cached": case.usd_open_least,
        "usd_most_if_cached": case.usd_open_most,
        "usd_monthly": case.usd_monthly,
        "price_source": case.source,
        "price_effective": case.effective and case.effective.isoformat(),
    }
