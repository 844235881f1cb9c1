"""A plan drawn: monthly cost against volume with the volumes at which local wins, and what moves the answer most."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from breakeven.economics.curve import LocalCurve, sawtooth
from breakeven.economics.uncertainty import Band, Swing, band
from breakeven.errors import InputError, ScenarioError
from breakeven.planning.explain import value_range
from breakeven.planning.plan import Plan
from breakeven.units import TOKENS_PER_MILLION, Tokens, tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#1d2433", "#667085", "#e4e7ec"
LOCAL, WIN, CAPACITY = "#d9480f", "#2b8a3e", "#868e96"
CLOUD_COLOURS = {"frontier": "#1c64d1", "hosted": "#7048e8", "small": "#0c8599"}
ROLES = {"frontier": "", "hosted": "same model, hosted", "small": "small frontier"}
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "breakeven",
}
SENTENCE_WIDTH = 132
MOST_STEPS = 14
BAND_POINTS = 160
SUFFIXES = (".svg", ".png", ".html")


def draw(plan: Plan, path: Path) -> None:
    """Write the picture; ``.html`` is one page with the picture and the tables in it.

    Raises:
        InputError: when the file's ending is not one of these, nothing can be drawn, or it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ScenarioError("--plot", str(path), f"a file ending in {', '.join(SUFFIXES)}")
    if suffix == ".html":
        from breakeven.planning.page import page  # noqa: PLC0415 - the page shows this module's picture

        content = page(plan, rendered(plan, "svg", titled=False).decode()).encode()
    else:
        content = rendered(plan, suffix.removeprefix("."))
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def rendered(plan: Plan, kind: str, *, titled: bool = True) -> bytes:
    """The picture as ``svg`` or ``png``; without its title where a page has one already."""
    if plan.local is None or plan.local.curve is None or not plan.serving.fits:
        raise InputError(
            "there is no curve to draw: " + plan.verdict.sentence,
            remedy="Give what is unknown with --set KEY=VALUE.",
        )
    with mpl.rc_context(STYLE):
        figure = _figure(plan, plan.local.curve, titled=titled)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=160, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def _figure(plan: Plan, curve: LocalCurve, *, titled: bool) -> Figure:
    swings = _swings(plan)
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.05, rect=(0, 0, 1, 0.845 if titled else 1))
    figure = Figure(figsize=(12.8, 7.2 if titled else 6.2), layout=layout)
    if titled:
        sentence = textwrap.fill(plan.verdict.sentence, SENTENCE_WIDTH, break_on_hyphens=False)
        figure.text(0.014, 0.965, plan.scenario.name, fontsize=19, fontweight="bold", va="top")
        figure.text(0.014, 0.905, sentence, fontsize=12, va="top", color=MUTED)
    if swings:
        main, side = figure.subplots(1, 2, width_ratios=(2.5, 1))
        _tornado(plan, side)
    else:
        main = figure.subplots()
    _curves(plan, curve, main)
    return figure


def _reach(plan: Plan, curve: LocalCurve) -> Tokens:
    """The right end: past the volume asked about and the first crossing, but no more teeth than one can see."""
    crossing = plan.frontier.crossing_tokens or 0
    wanted = max(
        2.2 * curve.capacity_tokens, 1.25 * (plan.tokens_monthly or 0), 1.4 * min(crossing, 4 * curve.capacity_tokens)
    )
    return int(min(wanted, MOST_STEPS * curve.capacity_tokens))


def _curves(plan: Plan, curve: LocalCurve, axes: Axes) -> None:
    reach = _reach(plan, curve)
    corners = sawtooth(curve, reach)
    volumes = np.array([volume for volume, _ in corners], dtype=float)
    costs = np.array([float(cost) for _, cost in corners])
    cloud_at_reach = {
        rival.model.role: float(reach * rival.model.usd_per_million / TOKENS_PER_MILLION)
        for rival in plan.rivals
        if rival.model.usd_per_million is not None
    }
    top = 1.12 * max(costs.max(), min(max(cloud_at_reach.values(), default=0.0), 2.2 * costs.max()))
    drawn = _band(plan, reach)
    if drawn is not None:
        axes.fill_between(drawn.tokens_monthly, drawn.local_low, drawn.local_high, color=LOCAL, alpha=0.13, lw=0)
        axes.fill_between(
            drawn.tokens_monthly, drawn.cloud_low, drawn.cloud_high, color=CLOUD_COLOURS["frontier"], alpha=0.10, lw=0
        )
    _winning(plan, axes, reach, top)
    axes.plot(volumes, costs, color=LOCAL, lw=2.6, solid_joinstyle="miter", zorder=4)
    _labels(plan, axes, reach, top, costs[-1], cloud_at_reach)
    axes.axvline(curve.capacity_tokens, color=CAPACITY, lw=1.2, ls=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"one box is full: {tokens(curve.capacity_tokens)}", (curve.capacity_tokens, top), xytext=(-4, -6),
        textcoords="offset points", va="top", ha="right", rotation=90, fontsize=9.5, color=MUTED,
    )  # fmt: skip
    if plan.tokens_monthly is not None and plan.tokens_monthly <= reach:
        axes.axvline(plan.tokens_monthly, color=INK, lw=1.4, zorder=3)
        side, shift = ("left", 6) if plan.tokens_monthly < 0.15 * reach else ("right", -6)
        axes.annotate(
            f"your volume\n{tokens(plan.tokens_monthly)}", (plan.tokens_monthly, 0), xytext=(shift, 8), ha=side,
            textcoords="offset points", fontsize=9.5, fontweight="bold",
            bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.85}, zorder=6,
        )  # fmt: skip
    axes.set(xlim=(0, reach), ylim=(0, top), xlabel="tokens a month", ylabel="cost a month")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tokens(round(value)) if value else "0"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.0f}"))
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(_subtitle(plan), loc="left", fontsize=11, color=MUTED, pad=10)


def _subtitle(plan: Plan) -> str:
    machine = plan.machine.name if plan.machine else "your box"
    first, second = f"{plan.model.name} on {machine}", "Green: the box wins at today's prices"
    if plan.likelihood is not None and not plan.scenario.escalation.share:
        second += ". Bands: 8 in 10 draws over the term, price decay included"
    return f"{first}\n{second}"


def _winning(plan: Plan, axes: Axes, reach: Tokens, top: float) -> None:
    found = plan.frontier.intervals
    for interval in found.intervals if found else ():
        if interval.first >= reach:
            break
        end = reach if interval.last is None else min(interval.last, reach)
        axes.axvspan(interval.first, end, color=WIN, alpha=0.09, lw=0, zorder=0)
        axes.plot([interval.first, end], [top * 0.004] * 2, color=WIN, lw=5, solid_capstyle="butt", zorder=5)


def _labels(
    plan: Plan, axes: Axes, reach: Tokens, top: float, local_at_reach: float, cloud_at_reach: dict[str, float]
) -> None:
    """Name each line where it leaves the picture, kept apart from the others."""
    ends: list[tuple[float, str, str]] = [(local_at_reach, "your boxes", LOCAL)]
    for rival in plan.rivals:
        role, at_reach = rival.model.role, cloud_at_reach.get(rival.model.role)
        if at_reach is None:
            continue
        colour = CLOUD_COLOURS[role]
        axes.plot([0, reach], [0, at_reach], color=colour, lw=2.2, zorder=3)
        name = rival.model.name.rsplit("/", 1)[-1]
        ends.append((at_reach, f"{name}\n{ROLES[role]}" if ROLES[role] else name, colour))
    gap, floor = 0.075 * top, 0.0
    for height, label, colour in sorted(ends):
        place = max(min(height, top), floor)
        floor = place + gap
        if height > top:
            axes.annotate(
                label, (reach * top / height, top), xytext=(-8, -8), textcoords="offset points", ha="right", va="top",
                color=colour, fontsize=10, fontweight="bold",
            )  # fmt: skip
        else:
            axes.annotate(
                label, (reach, place), xytext=(8, 0), textcoords="offset points", va="center", color=colour,
                fontsize=10, fontweight="bold", annotation_clip=False,
            )  # fmt: skip


def _band(plan: Plan, reach: Tokens) -> Band | None:
    """Quantiles of both costs; left out with escalation, where part of the cloud's bill is on both sides."""
    if plan.certain is None or plan.uncertain is None or plan.scenario.escalation.share:
        return None
    rng = np.random.default_rng(plan.scenario.doubt.seed)
    return band(plan.certain, plan.uncertain, np.linspace(0, reach, BAND_POINTS).tolist(), rng, draws=1000)


def _swings(plan: Plan) -> tuple[Swing, ...]:
    """The quantities that move the answer visibly, the widest first."""
    swings = plan.likelihood.tornado[:6] if plan.likelihood else ()
    return tuple(swing for swing in swings if swing.span_usd >= 0.01 * swings[0].span_usd > 0)


def _tornado(plan: Plan, axes: Axes) -> None:
    if plan.likelihood is None:
        return
    swings = _swings(plan)
    centre = plan.likelihood.saved_usd_central
    for row, swing in enumerate(reversed(swings)):
        for end, colour in ((swing.saved_usd_at_low, "#f4a261"), (swing.saved_usd_at_high, "#2a6f97")):
            axes.barh(row, end - centre, left=centre, color=colour, height=0.55, zorder=3)
        axes.text(
            0, row + 0.34, f"{swing.label}: {value_range(swing.low_value, swing.high_value, swing.unit)}",
            transform=axes.get_yaxis_transform(), fontsize=9.5, color=INK, va="bottom", zorder=6,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"},
        )  # fmt: skip
    axes.axvline(centre, color=INK, lw=1, zorder=4)
    if axes.get_xlim()[0] < 0 < axes.get_xlim()[1]:
        axes.axvline(0, color=LOCAL, lw=1.2, ls=(0, (2, 2)), zorder=2)
    axes.set_yticks([])
    axes.set_ylim(-0.6, len(swings) - 0.1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{'-' if value < 0 else ''}${abs(value):,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("saved a month by the boxes")
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    sure = f"It wins in {plan.likelihood.probability_local_wins:.0%} of {plan.likelihood.draws:,} draws"
    axes.set_title(f"{sure}\nOrange: low end, blue: high end", loc="left", fontsize=11, color=MUTED, pad=10)
