"""A replayed trace on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from breakeven.cli.plan_view import table
from breakeven.economics.service import BoxSpeed
from breakeven.planning.explain import duration
from breakeven.planning.trace_plan import TracePlan
from breakeven.units import UNKNOWN, tokens, usd


def show(plan: TracePlan, console: Console) -> None:
    """Print what was replayed, then machines, then models."""
    trace = plan.trace
    console.print(
        f"[bold]{escape(trace.name)}[/]  {len(trace):,} requests in {duration(trace.span_seconds)},"
        f" {tokens(int(trace.input_tokens.sum()))} tokens in, {tokens(int(trace.output_tokens.sum()))} out;"
        f" busiest minute {trace.peak_minute_factor:.1f} × the mean.",
        highlight=False,
    )
    if trace.reused_tokens is None:
        console.print("  [yellow]![/] The trace does not say what prompts share: no prefix reuse on either side.")
    else:
        share = trace.reused_tokens.sum() / max(1, trace.input_tokens.sum())
        console.print(f"  {share:.0%} of the prompt tokens were seen before; nothing evicted, on both sides.")
    if plan.too_long:
        console.print(f"  [yellow]![/] {plan.too_long:,} requests are longer than the model takes; replayed as if not.")
    if trace.skipped:
        console.print(f"  [yellow]![/] {trace.skipped:,} lines skipped: {escape('; '.join(trace.problems))}")
    console.print()
    columns = ("boxes", "at 100%", "wait p50", "wait p95", "one box takes", "this trace", "a month of it")
    machines = table(f"{plan.model.name} on", *columns)
    for case in plan.machines:
        boxes = UNKNOWN if case.boxes is None else str(case.boxes)
        if case.speed is not None and case.by_memory is None:
            boxes = "does not fit"
        machines.add_row(
            f"{escape(case.machine.name)}\n[dim]{_speeds(case.speed)}[/]",
            boxes,
            UNKNOWN if case.busy_boxes is None else f"{case.busy_boxes:.1f}",
            UNKNOWN if case.wait_p50_seconds is None else duration(case.wait_p50_seconds),
            UNKNOWN if case.wait_p95_seconds is None else duration(case.wait_p95_seconds),
            UNKNOWN if case.one_box_hours is None else duration(case.one_box_hours * 3600),
            usd(case.usd_trace),
            usd(case.usd_monthly),
        )
    console.print(machines)
    clouds = table("In the cloud, priced call by call", "this trace", "a month of it", "price")
    for cloud in plan.clouds:
        clouds.add_row(
            f"{escape(cloud.name)}\n[dim]{cloud.role}[/]",
            usd(cloud.usd),
            usd(cloud.usd_monthly),
            f"[dim]{cloud.source}[/]",
        )
    console.print(clouds)


def _speeds(speed: BoxSpeed | None) -> str:
    if speed is None:
        return "speed unknown"
    prefill, decode = speed.prefill, speed.decode
    return (
        f"{prefill.tokens_per_second:g} tok/s prefill ({prefill.basis}),"
        f" {decode.tokens_per_second:.3g} decode ({decode.basis})"
    )
