"""A measurement on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from breakeven.catalog.measurements import Measurement, Spread
from breakeven.cli.plan_view import table
from breakeven.units import UNKNOWN


def show(taken: Measurement, console: Console) -> None:
    """Print one measurement."""
    engine = taken.engine
    settings = [f"{engine.kind} {engine.version or ''}".strip()]
    settings += [f"{engine.slots} slots"] if engine.slots else []
    settings += [f"{engine.context:,} tokens of context"] if engine.context else []
    settings += [f"{engine.threads} threads"] if engine.threads else []
    console.print(f"[bold]{escape(taken.model)}[/] on {escape(', '.join(settings))}", highlight=False)
    console.print(f"[dim]{escape(taken.host)} · {taken.taken_at} · breakeven {taken.program}[/]", highlight=False)
    console.print(_prefill(taken))
    console.print(_decode(taken))
    lines = Table.grid(padding=(0, 2))
    for name, value in _lines(taken):
        lines.add_row(name, escape(value))
    console.print(lines, highlight=False)
    warnings = Table.grid(padding=(0, 1))
    for warning in _warnings(taken):
        warnings.add_row("[yellow]![/]", escape(warning))
    console.print(warnings, highlight=False)


def show_list(taken: list[Measurement], console: Console) -> None:
    """Print all measurements, a line each."""
    if not taken:
        console.print("Nothing measured yet. Start with: breakeven measure --quick")
        return
    rows = table("Model", "Served by", "Machine", "In/s", "Out/s", "Taken", "")
    for one in taken:
        times = one.step_times()
        longest = one.prefill[-1].prompt_tokens
        rows.add_row(
            escape(one.model),
            one.engine.kind,
            escape(one.machine or one.host),
            f"{times.prefill_tokens_per_second(longest):,.4g}",
            f"{times.decode_tokens_per_second(longest):,.3g}",
            one.taken_at[:10],
            "noisy" if one.conditions.noisy else "",
        )
    rows.caption = "In/s, Out/s: prefill and decode, tokens a second, of one call at the longest prompt measured"
    console.print(rows)


def _prefill(taken: Measurement) -> Table:
    rows = table("Prompt, tokens", "Prefill", "±", "Tokens/s", "Runs")
    for point in taken.prefill:
        speed = point.prompt_tokens / point.seconds.median
        rows.add_row(
            f"{point.prompt_tokens:,}", _time(point.seconds.median), _width(point.seconds), f"{speed:,.4g}",
            str(point.seconds.runs),
        )  # fmt: skip
    return rows


def _decode(taken: Measurement) -> Table:
    rows = table("Answers at once", "Context", "A token", "±", "Tokens/s each", "All")
    for point in taken.decode:
        each = 1 / point.seconds.median
        rows.add_row(
            str(point.parallel), f"{point.context_tokens:,}", _time(point.seconds.median), _width(point.seconds),
            f"{each:,.3g}", f"{each * point.parallel:,.3g}",
        )  # fmt: skip
    return rows


def _lines(taken: Measurement) -> list[tuple[str, str]]:
    lines = [("Overhead of a call", _time(taken.overhead_seconds))] if taken.timed_by == "engine" else []
    if taken.cached_seconds is not None and taken.cached_prompt_tokens:
        first = f"{_time(taken.cached_seconds)} to the first token of a prompt of {taken.cached_prompt_tokens:,}"
        lines.append(("From the cache", first))
    gain = _batching(taken)
    lines += [("Batched decode", gain)] if gain else []
    lines.append(
        ("Loading the model", "was loaded already" if taken.load_seconds is None else _time(taken.load_seconds))
    )
    if taken.watts is None:
        lines.append(("Draw", f"{UNKNOWN}: no power meter was found"))
    else:
        watts = taken.watts
        lines.append(("Draw", f"{watts.idle:g} W idle, {watts.load:g} W at work, by {watts.meter}"))
    conditions = taken.conditions
    if conditions.waited is not None:
        lines.append(("Waiting for a CPU", f"{conditions.waited:.0%} of the run, taken out of the times above"))
    elif conditions.cpu_pressure is not None:
        lines.append(("Waiting for a CPU", f"{conditions.cpu_pressure:.0%} of the run"))
    return lines


def _batching(taken: Measurement) -> str | None:
    most = max(point.parallel for point in taken.decode)
    if most == 1:
        return None
    context = min(point.context_tokens for point in taken.decode if point.parallel == most)
    times = taken.step_times()
    gain = most * times.step_seconds(1, context) / times.step_seconds(most, context)
    return f"{most} answers at once make {gain:.1f} × the tokens a second of one"


def _warnings(taken: Measurement) -> list[str]:
    warnings = list(taken.conditions.notes)
    if taken.conditions.noisy:
        warnings.append("Other work held the machine up: measure again when it is quiet.")
    if taken.timed_by == "outside":
        warnings.append(
            "This server does not state its own times: they were taken by the clock here, transport included."
        )
    if taken.machine is None:
        warnings.append(
            "Plans use this for the box as configured; name it with box.machine or --machine to use it there."
        )
    if taken.shape is None:
        warnings.append("The model is not in the catalogue, so plans cannot use this; --shape says which row it is.")
    return warnings


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def _width(seconds: Spread) -> str:
    return f"{(seconds.high - seconds.low) / 2 / seconds.median:.0%}" if seconds.runs > 1 else ""
