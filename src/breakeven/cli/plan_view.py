"""A plan on a terminal: the verdict first, then what made it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from breakeven.economics.curve import WinningIntervals
from breakeven.economics.verdict import VerdictKind
from breakeven.planning.explain import boxes_line, duration, the_load, value_range, why_reuse
from breakeven.planning.plan import Plan
from breakeven.units import UNKNOWN, tokens, usd

COLOURS = {
    VerdictKind.LOCAL_WINS: "green",
    VerdictKind.ALREADY_OWNED: "green",
    VerdictKind.CLOUD_WINS: "blue",
    VerdictKind.HOSTED_SAME_MODEL_WINS: "blue",
    VerdictKind.SMALL_FRONTIER_WINS: "blue",
    VerdictKind.INFEASIBLE: "red",
    VerdictKind.NOT_ENOUGH_EVIDENCE: "yellow",
}
INTERVALS_SHOWN = 3
BAR_WIDTH = 28


def show(plan: Plan, console: Console, counted: Callable[[], None] | None = None) -> None:
    """Print the whole plan; ``counted`` prints what it was counted from, below the verdict."""
    verdict, colour = plan.verdict, COLOURS[plan.verdict.kind]
    title = verdict.kind.value.replace("_", " ")
    console.print(
        Panel(
            escape(verdict.sentence), title=f"[bold]{title}[/]", title_align="left", border_style=colour, padding=(1, 2)
        )
    )
    for caveat in verdict.caveats:
        console.print(f"  [yellow]![/] {escape(caveat)}", highlight=False)
    if plan.missing:
        keys = ", ".join(f"box.{key}" for key in plan.missing)
        console.print(f"  [yellow]![/] Unknown: {keys}. Give them with --set KEY=VALUE.", highlight=False)
    if counted is not None:
        console.print()
        counted()
    for heading, sentence in (("Load", the_load(plan)), ("Reuse", why_reuse(plan)), ("Boxes", boxes_line(plan))):
        if sentence:
            console.print(f"\n[bold]{heading}[/]  {escape(sentence)}", highlight=False)
    console.print(f"[bold]Memory[/]  {_memory(plan)}", highlight=False)
    console.print()
    _local(plan, console)
    _rivals(plan, console)
    _alternatives(plan, console)
    _burst(plan, console)
    _doubt(plan, console)
    _assumptions(plan, console)


def interval_text(found: WinningIntervals | None) -> str:
    """Where local wins, in one cell."""
    if found is None:
        return UNKNOWN
    if not found:
        return "never"
    shown = [
        f"{tokens(i.first)} – {tokens(i.last)}" if i.last is not None else f"{tokens(i.first)} and up"
        for i in found.intervals[:INTERVALS_SHOWN]
    ]
    more = len(found.intervals) - len(shown) + found.unlisted
    return "\n".join([*shown, f"… and {more} more"] if more > 0 else shown)


def table(*columns: str) -> Table:
    """A quiet table: the first column to the left, figures to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right")
    return made


def _memory(plan: Plan) -> str:
    need, usable = plan.serving.memory, plan.serving.usable_gib
    text = f"{need.total_gib:.1f} GiB for {escape(plan.model.name)} at {plan.scenario.serving.context_tokens:,} tokens"
    return text + ("." if usable is None else f", of {usable:.0f} GiB usable.")


def _local(plan: Plan, console: Console) -> None:
    if plan.local is None:
        return
    local, name = plan.local, plan.machine.name if plan.machine else "your box"
    rows = table(f"One box a month: {name}", "")
    rows.add_row("H  hardware, written off", usd(local.hardware_usd_monthly))
    rows.add_row("E  idle power, 730 h", usd(local.idle_usd_monthly))
    rows.add_row("   care", usd(local.care_usd_monthly))
    rows.add_row("   electricity of a million tokens", usd(local.energy_usd_per_million, 3))
    rows.add_row(
        f"   capacity at {plan.scenario.serving.utilisation:.0%}", f"{tokens(plan.serving.capacity_tokens)} tokens"
    )
    if plan.horizon is not None:
        horizon = plan.horizon
        back = "never" if horizon.payback_month is None else f"month {horizon.payback_month}"
        rows.add_row(
            f"   net present value of {horizon.boxes}, paid back", f"{usd(horizon.net_present_value_usd)}, {back}"
        )
    console.print(rows)


def _rivals(plan: Plan, console: Console) -> None:
    rows = table("Against", "$/M, this mix", "a month", "a burst", "local wins, tokens a month")
    for rival in plan.rivals:
        rows.add_row(
            f"{escape(rival.model.name)}\n[dim]{rival.model.role}[/]",
            usd(rival.model.usd_per_million, 3),
            usd(rival.usd_monthly),
            usd(rival.burst_usd),
            interval_text(rival.intervals),
        )
    console.print(rows)


def _alternatives(plan: Plan, console: Console) -> None:
    ways = plan.alternatives
    if ways is None:
        return
    frontier = escape(plan.frontier.model.name.rsplit("/", 1)[-1])
    rows = table("Ways to serve it", "a month", "an accepted request")
    if ways.all_local_boxes is not None:
        accepted = usd(ways.accepted_local_usd, 4)
        rows.add_row(f"all local, boxes: {ways.all_local_boxes}", usd(ways.all_local_usd_monthly), accepted)
    rows.add_row(f"boxes: {ways.overflow_boxes}, the rest to {frontier}", usd(ways.overflow_usd_monthly), "")
    rows.add_row(f"all to {frontier}", usd(plan.frontier.usd_monthly), usd(ways.accepted_cloud_usd, 4))
    console.print(rows)


def _burst(plan: Plan, console: Console) -> None:
    if not plan.bursts:
        return
    work = plan.scenario.workload
    rows = table(f"{work.burst_topics} topics at once, {work.calls_per_wake} calls each", "done after", "held up by")
    for case in plan.bursts:
        held = ", ".join(limit.replace("_", " ") for limit in case.held_by) or "–"
        rows.add_row(escape(case.place), "never" if case.seconds is None else duration(case.seconds), held)
    console.print(rows)


def _doubt(plan: Plan, console: Console) -> None:
    sure = plan.likelihood
    if sure is None:
        return
    low, median, high = (_dollars(v) for v in (sure.saved_usd_low, sure.saved_usd_median, sure.saved_usd_high))
    console.print(
        f"[bold]How sure[/]  local wins in {sure.probability_local_wins:.0%} of {sure.draws:,} draws; saves"
        f" {median} a month (8 in 10: {low} to {high}).",
        highlight=False,
    )
    widest = max((swing.span_usd for swing in sure.tornado), default=0.0)
    rows = table("What moves it most", "over", "by, a month", "")
    rows.columns[3].justify = "left"
    for swing in sure.tornado[:6]:
        bar = "█" * max(1, round(BAR_WIDTH * swing.span_usd / widest))
        over = value_range(swing.low_value, swing.high_value, swing.unit)
        rows.add_row(swing.label, over, _dollars(swing.span_usd), f"[cyan]{bar}[/]")
    console.print(rows)


def _dollars(value: float) -> str:
    return usd(Decimal(round(value)), 0)


def _assumptions(plan: Plan, console: Console) -> None:
    rows = table("Rests on", "value", "source")
    rows.columns[2].justify = "left"
    for assumption in plan.assumptions:
        value = assumption.value
        shown = UNKNOWN if value is None else value if isinstance(value, str) else f"{value:,.6g}"
        source = f"{assumption.source}{f', {assumption.dated}' if assumption.dated else ''}"
        style = "yellow" if assumption.is_assumed else "dim"
        rows.add_row(assumption.name, f"{shown} {assumption.unit}".strip(), f"[{style}]{escape(source)}[/]")
    console.print(rows)
