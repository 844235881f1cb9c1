"""A plan as one HTML page that needs nothing else: verdict, picture, tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from breakeven.planning.explain import boxes_line, the_load, why_reuse
from breakeven.planning.plan import Plan
from breakeven.units import UNKNOWN, tokens, usd

STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1d2433;max-width:1100px;margin:2.5rem auto;padding:0 1.5rem}
h1{font-size:1.6rem;margin:0}.kind{text-transform:uppercase;letter-spacing:.08em;font-size:.8rem;color:#667085}
.verdict{font-size:1.25rem;border-left:5px solid #d9480f;padding:.6rem 1rem;margin:1rem 0;background:#fff8f3}
figure{margin:1.5rem 0}figure svg{width:100%;height:auto}
table{border-collapse:collapse;width:100%;margin:1rem 0 2rem}caption{text-align:left;font-weight:600;padding:.4rem 0}
td,th{padding:.35rem .6rem;border-bottom:1px solid #e4e7ec;text-align:right;vertical-align:top}
td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}
th{color:#667085;font-weight:500}.assumed{color:#b35c00}
"""


def page(plan: Plan, svg: str) -> str:
    """The page, with the picture in it."""
    picture = svg[svg.index("<svg") :]
    sentences = "".join(f"<p>{escape(text)}</p>" for text in (the_load(plan), why_reuse(plan), _boxes(plan)) if text)
    caveats = "".join(f"<li>{escape(caveat)}</li>" for caveat in plan.verdict.caveats)
    kind = plan.verdict.kind.value.replace("_", " ")
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(plan.scenario.name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<p class="kind">{escape(kind)}</p><h1>{escape(plan.scenario.name)}</h1>'
        f'<p class="verdict">{escape(plan.verdict.sentence)}</p><ul>{caveats}</ul>'
        f"<figure>{picture}</figure>{sentences}{_rivals(plan)}{_assumptions(plan)}"
        f"<p>Prices as of {plan.at.date().isoformat()}. Every volume is a month of 730 hours.</p></body></html>\n"
    )


def _boxes(plan: Plan) -> str | None:
    line = boxes_line(plan)
    return None if line is None else f"Boxes: {line}"


def _table(caption: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def _rivals(plan: Plan) -> str:
    rows = []
    for rival in plan.rivals:
        found = rival.intervals
        wins = UNKNOWN if found is None else "never" if not found else ""
        for interval in found.intervals[:3] if found else ():
            end = "and up" if interval.last is None else f"to {tokens(interval.last)}"
            wins += f"{tokens(interval.first)} {end}<br>"
        price = usd(rival.model.usd_per_million, 3)
        rows.append((escape(rival.model.name), rival.model.role, price, usd(rival.usd_monthly), wins))
    columns = ("model", "role", "$ per million, this mix", "a month", "local wins, tokens a month")
    return _table("Against the cloud", columns, rows)


def _assumptions(plan: Plan) -> str:
    rows = []
    for assumption in plan.assumptions:
        value = assumption.value
        shown = UNKNOWN if value is None else value if isinstance(value, str) else f"{value:,.6g}"
        dated = f", {assumption.dated}" if assumption.dated else ""
        source = escape(f"{assumption.source}{dated}")
        marked = f'<span class="assumed">{source}</span>' if assumption.is_assumed else source
        rows.append((escape(assumption.name), escape(f"{shown} {assumption.unit}"), marked))
    return _table("What it rests on", ("", "value", "source"), rows)
