"""A replayed trace on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from breakeven.cli.plan_view import table
from breakeven.economics.service import BoxSpeed
from breakeven.planning.explain import duration
from breakeven.planning.replaying import TraceOnMachine
from breakeven.planning.trace_plan import TracePlan, notes
from breakeven.units import UNKNOWN, tokens, usd

ROLES = {"frontier": "frontier", "hosted": "same model, hosted", "small": "small frontier"}


def show(plan: TracePlan, console: Console) -> None:
    """Print what was counted, then machines, then models, then a verdict for each machine."""
    trace = plan.trace
    console.print(
        f"[bold]{escape(trace.name)}[/]  {len(trace):,} requests in {duration(trace.span_seconds)},"
        f" {tokens(int(trace.input_tokens.sum()))} tokens in, {tokens(trace.tokens.total('output'))} out;"
        f" busiest minute {trace.peak_minute_factor:.1f} × the mean.",
        highlight=False,
    )
    if trace.reused_tokens is not None:
        share = trace.tokens.total("cache_read") / max(1, int(trace.input_tokens.sum()))
        console.print(f"  {share:.0%} of the prompt tokens were seen before; nothing evicted, on both sides.")
    if plan.too_long:
        console.print(f"  [yellow]![/] {plan.too_long:,} requests are longer than the model takes; replayed as if not.")
    if trace.skipped:
        console.print(f"  [yellow]![/] {trace.skipped:,} lines skipped: {escape('; '.join(trace.problems))}")
    for caveat in notes(plan.volume, plan.machines[0]):
        console.print(f"  [yellow]![/] {escape(caveat)}", highlight=False)
    console.print()
    console.print(f"[bold]{escape(plan.model.name)}[/] on", highlight=False)
    for case in plan.machines:
        console.print(f"  {escape(case.name)} [dim]{_speeds(case.speed)}[/]", highlight=False)
    columns = ("boxes", "at 100%", "wait p50", "p95", "one takes", "cost", "a month")
    machines = table("machine", *columns)
    for case in plan.machines:
        machines.add_row(
            escape(case.name),
            _boxes(case),
            UNKNOWN if case.busy_boxes is None else f"{case.busy_boxes:.1f}",
            UNKNOWN if case.wait_p50_seconds is None else duration(case.wait_p50_seconds),
            UNKNOWN if case.wait_p95_seconds is None else duration(case.wait_p95_seconds),
            UNKNOWN if case.one_box_hours is None else duration(case.one_box_hours * 3600),
            usd(case.usd_trace),
            usd(case.usd_monthly, 0),
        )
    console.print(machines)
    show_clouds(plan, console)
    for case, answer in zip(plan.machines, plan.plans, strict=True):
        console.print(f"[bold]{escape(case.name)}[/]  {escape(answer.verdict.sentence)}", highlight=False)


def show_counted(plan: TracePlan, console: Console) -> None:
    """What was counted, and what it cost or would have cost as it was, for a single machine."""
    trace, (case,) = plan.trace, plan.machines
    volume = plan.volume
    what = [f"{len(trace):,} requests"] if len(trace) else []
    if volume.buckets:
        what.append(
            f"{len(volume.buckets):,} sums of {volume.requests - len(trace):,} {'further ' if what else ''}requests"
        )
    peak = f"; busiest minute {trace.peak_minute_factor:.1f} × the mean" if len(trace) else ""
    console.print(
        f"[bold]Counted[/]  {' and '.join(what)} over {_span(volume.seconds)} in {escape(trace.name)}:"
        f" {tokens(volume.tokens)} tokens{peak}.",
        highlight=False,
    )
    if trace.skipped:
        console.print(f"  [yellow]![/] {trace.skipped:,} lines skipped: {escape('; '.join(trace.problems))}")
    if trace.reused_tokens is not None:
        share = trace.tokens.total("cache_read") / max(1, int(trace.input_tokens.sum()))
        console.print(f"  {share:.0%} of the prompt tokens came from a cache; the box is taken to find as many.")
    if plan.too_long:
        console.print(f"  [yellow]![/] {plan.too_long:,} requests are longer than the model takes; replayed as if not.")
    waits = (
        ""
        if case.wait_p95_seconds is None or case.wait_p50_seconds is None
        else f"; replayed, half wait at most {duration(case.wait_p50_seconds)}, 95% {duration(case.wait_p95_seconds)}"
    )
    if case.busy_boxes is not None:
        console.print(
            f"  Work for {case.busy_boxes:.2f} boxes at 100%, so boxes: {_boxes(case)}{waits};"
            f" all of it at home {usd(case.usd_trace)}.",
            highlight=False,
        )
    show_clouds(plan, console)


def show_clouds(plan: TracePlan, console: Console) -> None:
    """What each model would have charged for exactly these requests."""
    ranged = any(cloud.usd_least != cloud.usd_most for cloud in plan.clouds)
    between = ("between",) if ranged else ()
    clouds = table("In the cloud, priced call by call", "all of it", *between, "a month of it", "price")
    for cloud in plan.clouds:
        is_range = cloud.usd_least != cloud.usd_most
        sums = (f"{usd(cloud.usd_least)} and {usd(cloud.usd_most)}" if is_range else "",) if ranged else ()
        dated = f", {cloud.effective.isoformat()}" if cloud.effective else ""
        clouds.add_row(
            f"{escape(cloud.name)}\n[dim]{ROLES[cloud.role]}[/]",
            usd(cloud.usd),
            *sums,
            usd(cloud.usd_monthly),
            f"[dim]{escape(cloud.source)}{dated}[/]",
        )
    console.print(clouds)


def _span(seconds: float) -> str:
    return duration(seconds) if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"


def _boxes(case: TraceOnMachine) -> str:
    if case.speed is not None and case.by_memory is None:
        return "does not fit"
    return UNKNOWN if case.boxes is None else str(case.boxes)


def _speeds(speed: BoxSpeed | None) -> str:
    if speed is None:
        return "speed unknown"
    prefill, decode = speed.prefill, speed.decode
    return (
        f"{prefill.tokens_per_second:g} tok/s prefill ({prefill.basis}),"
        f" {decode.tokens_per_second:.3g} decode ({decode.basis})"
    )
