"""How ``breakeven agents`` shows plans, states, dead letters and the morning report."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from breakeven.agents import dead, history, queue, runs, workers
from breakeven.agents.report import Cost, report, share_of_box, total
from breakeven.agents.schedule import offsets
from breakeven.cli.books import opened
from breakeven.cli.console import out, print_json
from breakeven.errors import InputError
from breakeven.units import usd

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from breakeven.agents.app import App
    from breakeven.config import Settings

LONGEST_CELL = 90
NUMBERS = (
    "runs", "late p50", "late p95", "done", "waiting", "at work", "dead", "calls", "on the box", "prefix hits",
    "box", "cloud", "instead", "took",
)  # fmt: skip


def show_plan(fleet: App, settings: Settings, *, as_json: bool) -> None:
    """Each agent with its next wake-up."""
    now = time.time()
    cadences = {name: member.agent.schedule for name, member in fleet.members.items()}
    spread = {name: at for name, at in cadences.items() if at and fleet.members[name].agent.spread == "auto"}
    late = offsets(spread, now)
    rows: list[dict[str, Any]] = []
    for name, member in sorted(fleet.members.items()):
        agent, cadence = member.agent, cadences[name]
        tick = cadence.next(now - late.get(name, 0.0)) if cadence is not None else None
        following = None if tick is None else tick + late.get(name, 0.0)
        rows.append(
            {
                "agent": name,
                "every": agent.every,
                "zone": agent.zone,
                "next": None if following is None else datetime.fromtimestamp(following, UTC).isoformat("T", "seconds"),
                "batch": agent.batch,
                "parallel": agent.parallel,
                "source": agent.source.kind if agent.source is not None else None,
                "model": agent.model,
                "data": agent.data or settings.policy.default_data,
                "budget": None if agent.budget is None else f"${agent.budget.usd}/{agent.budget.per}",
                "defined_in": member.origin,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = _table("agent", "every", "next wake-up", "takes", "from", "model", "data", "budget")
    for row in rows:
        takes = f"{row['batch']} × {row['parallel']}" if row["source"] else "–"
        cells = (row["agent"], row["every"], _clock(row["next"]), takes, row["source"], row["model"], row["data"])
        table.add_row(*(escape(str(cell or "–")) for cell in (*cells, row["budget"])))
    out.print(table)


def show_status(engine: Engine, settings: Settings, *, as_json: bool) -> None:
    """Workers, agents, items."""
    with engine.connect() as connection:
        present = workers.present(connection, settings.agents.lease_seconds)
        states = runs.remembered(connection)
        counted = queue.counts(connection)
        last = history.last_runs(connection)
    if as_json:
        agents = {
            name: {
                "paused": states[name].paused if name in states else False,
                "items": counted.get(name, {}),
                "last_run": last[name][0] if name in last else None,
                "last_run_due": last[name][1] if name in last else None,
                "last_error": last[name][2] if name in last else None,
            }
            for name in sorted({*states, *counted})
        }
        print_json({"workers": [asdict(worker) | {"state": state} for worker, state in present], "agents": agents})
        return
    who = ", ".join(
        f"{worker.host} process {worker.pid}{'' if at == 'live' else ' (leaving)'}" for worker, at in present
    )
    out.print(f"workers: {who or 'none'}", highlight=False)
    table = _table("agent", "last run", "", "waiting", "at work", "done", "dead")
    for name in sorted({*states, *counted}):
        items = counted.get(name, {})
        state, at, error = last.get(name, ("–", None, None))
        note = "paused" if name in states and states[name].paused else (error or state)
        table.add_row(
            name,
            _ago(at),
            escape(note[:LONGEST_CELL]),
            f"{items.get('ready', 0) + items.get('assigned', 0):,}",
            f"{items.get('working', 0):,}",
            f"{items.get('done', 0):,}",
            f"{items.get('dead', 0):,}",
        )
    out.print(table)


def show_report(engine: Engine, settings: Settings, fleet: App, since: float, *, as_json: bool) -> None:
    """What happened since an instant, and what it cost."""
    with engine.connect() as connection:
        found_runs, counted = history.runs_since(connection, since), queue.counts(connection)
    with opened(settings) as store:
        calls = [] if store is None else list(store.calls(since, time.time() + 1))
    rows = report(found_runs, counted, calls)
    cadences = {name: member.agent.schedule for name, member in fleet.members.items()}
    periods = {name: cadence.period(time.time()) for name, cadence in cadences.items() if cadence is not None}
    needed = share_of_box(rows, {name: period for name, period in periods.items() if period})
    if as_json:
        agents = [asdict(row) | {"prefix_hits": row.cost.prefix_hits} for row in rows]
        print_json({"since": since, "agents": agents, "share_of_box": needed})
        return
    if not rows:
        out.print("No agent has run yet.")
        return
    out.print(f"[bold]Since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M}[/] (UTC)\n")
    work = _table("agent", "runs", "late p50", "late p95", "done", "waiting", "dead")
    cost = _table("agent", "calls", "on the box", "prefix hits", "box", "cloud", "instead")
    for row in rows:
        dead_items = f"[red]{row.dead:,}[/]" if row.dead else "0"
        lags = (_seconds(row.lag_p50), _seconds(row.lag_p95))
        work.add_row(row.agent, f"{row.runs:,}", *lags, f"{row.succeeded:,}", f"{row.waiting:,}", dead_items)
        cost.add_row(row.agent, *_cost_cells(row.cost))
    work.add_section()
    sums = [sum(getattr(row, name) for row in rows) for name in ("runs", "succeeded", "waiting", "dead")]
    work.add_row("all", f"{sums[0]:,}", "", "", *(f"{number:,}" for number in sums[1:]))
    cost.add_section()
    cost.add_row("all", *_cost_cells(total(rows)))
    out.print(work)
    out.print()
    out.print(cost)
    if needed is not None:
        verdict = "" if needed < 1 else "; that is more than it has: lengthen the cadence, shorten prompts or add a box"
        out.print(f"\nAt its cadence the fleet needs {needed:.0%} of this box{verdict}.\n", style="bold")
    out.print(
        "late: from when a run was due to its start. box: energy and share of the machine. cloud: billed by providers. "
        "instead: what the reference model would have charged for the calls served on the box.",
        style="dim",
    )


def _cost_cells(cost: Cost) -> tuple[str, ...]:
    hits = "–" if cost.prefix_hits is None else f"{cost.prefix_hits:.0%}"
    on_the_box = "–" if not cost.calls else f"{cost.served_locally / cost.calls:.0%}"
    return f"{cost.calls:,}", on_the_box, hits, *(usd(value) for value in (cost.local, cost.cloud, cost.counterfactual))


def show_items(engine: Engine, agent: str | None, most: int, *, as_json: bool) -> None:
    """The items that moved last."""
    with engine.connect() as connection:
        rows = history.recent_items(connection, agent, most)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = _table("item", "agent", "key", "state", "attempt", "took", "what happened")
    for row in rows:
        took = None if row.finished_at is None or row.started_at is None else row.finished_at - row.started_at
        key, what = row.key[:24], (row.error or "")[:LONGEST_CELL]
        table.add_row(str(row.id), row.agent, escape(key), row.state, str(row.attempt), _seconds(took), escape(what))
    out.print(table)


def show_steps(engine: Engine, number: int, *, as_json: bool) -> None:
    """The steps of an item's last attempt."""
    with engine.connect() as connection:
        item = history.item(connection, number)
    if item is None:
        raise InputError(f"there is no item {number}", remedy="`breakeven agents logs` lists them.")
    steps = history.steps(engine, item)
    if as_json:
        print_json({"item": asdict(item), "steps": [asdict(step) for step in steps]})
        return
    out.print(f"{item.agent} / {item.key}: {item.state}, attempt {item.attempt}", highlight=False, markup=False)
    table = _table("step", "name", "took", "result")
    for step in steps:
        result = step.error or json.dumps(step.output, ensure_ascii=False)
        table.add_row(str(step.number), escape(step.name), _seconds(step.seconds), escape(result[:LONGEST_CELL]))
    out.print(table)


def show_dead(engine: Engine, agent: str | None, *, as_json: bool) -> None:
    """Dead letters."""
    with engine.connect() as connection:
        letters = dead.dead_letters(connection, agent)
    if as_json:
        print_json([asdict(letter) for letter in letters])
        return
    if not letters:
        out.print("No dead letters.")
        return
    table = _table("item", "agent", "key", "step", "since", "why")
    for letter in letters:
        step = f"{letter.step} ({letter.resume_at})" if letter.step else "–"
        why = escape((letter.error or "")[:LONGEST_CELL])
        table.add_row(str(letter.id), letter.agent, escape(letter.key[:24]), escape(step), f"{letter.at:%d %H:%M}", why)
    out.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name == columns[0], justify="right" if name in NUMBERS else "left")
    return table


def _clock(at: str | None) -> str:
    return "–" if at is None else at[11:19]


def _ago(at: float | None) -> str:
    if at is None:
        return "–"
    seconds = max(0, int(time.time() - at))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
