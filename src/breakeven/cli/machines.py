"""``breakeven machines``: the machines, model shapes and tariffs of the catalogue, each figure with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import typer

from breakeven.cli.console import out, print_json, reporting_errors
from breakeven.units import UNKNOWN

if TYPE_CHECKING:
    from breakeven.catalog.figures import Figure
    from breakeven.catalog.machines import Machine

MARKS = {"measured": "ᴹ", "published": "ᴾ", "inferred": "ᴵ"}


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""

    @app.command()
    def machines(
        key: str | None = typer.Argument(None, metavar="[MACHINE]", help="Only this one, with all its sources."),
        tariffs: bool = typer.Option(False, "--tariffs", help="The electricity tariffs instead."),
        models: bool = typer.Option(False, "--models", help="The model shapes instead."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """The machines that plans and the ledger know, with what vouches for each figure.

        Example: breakeven machines m4-max-128
        """
        with reporting_errors():
            if tariffs:
                _show_tariffs(as_json=as_json)
            elif models:
                _show_models(as_json=as_json)
            else:
                _show_machines(key, as_json=as_json)


def _show_machines(key: str | None, *, as_json: bool) -> None:
    from breakeven.catalog.machines import find_machine, machines
    from breakeven.cli.plan_view import table

    chosen = machines() if key is None else (find_machine(key),)
    if as_json:
        print_json([_machine_document(machine) for machine in chosen])
        return
    if key is not None:
        _show_one(chosen[0])
        return
    rows = table("Machine", "GiB", "GB/s", "$", "idle W", "load W", "in/s", "out/s")
    for column in rows.columns:
        column.no_wrap = True
    rows.caption = (
        "ᴹ measured, ᴾ published, ᴵ inferred; in/s and out/s: prefill and decode, tokens a second, of a 70B Q4_K_M"
    )
    for machine in chosen:
        speed = machine.speed("llama-3.3-70b-q4_k_m")
        figures = (machine.memory_gib, machine.bandwidth_gb_s, machine.price_usd, machine.idle_watts)
        more = (machine.load_watts, speed.prefill, speed.decode)
        rows.add_row(machine.key, *(_cell(figure) for figure in (*figures, *more)))
    out.print(rows)
    out.print("[dim]breakeven machines MACHINE shows names, sources and dates.[/]", highlight=False)


def _show_one(machine: Machine) -> None:
    from rich.table import Table

    table = Table(title=machine.name, title_justify="left")
    for column in ("figure", "value", "kind", "source", "as of"):
        table.add_column(column)
    for name, figure in _named_figures(machine).items():
        if figure is None:
            table.add_row(name, UNKNOWN, "", "", "")
        else:
            table.add_row(name, _span(figure), figure.kind, figure.source, figure.as_of)
    out.print(table)


def _show_tariffs(*, as_json: bool) -> None:
    from rich.table import Table

    from breakeven.catalog.tariffs import tariffs

    if as_json:
        print_json(
            [{"code": t.code, "place": t.place, "usd_per_kwh": _figure_document(t.usd_per_kwh)} for t in tariffs()]
        )
        return
    table = Table(title="Household electricity")
    for column in ("code", "place", "$/kWh", "source", "as of"):
        table.add_column(column, justify="right" if column == "$/kWh" else "left")
    for tariff in tariffs():
        figure = tariff.usd_per_kwh
        table.add_row(tariff.code, tariff.place, f"{figure.value:.4f}", figure.source, figure.as_of)
    out.print(table)


def _show_models(*, as_json: bool) -> None:
    from rich.table import Table

    from breakeven.catalog.shapes import shapes
    from breakeven.units import GIB

    if as_json:
        print_json(
            [
                {
                    "key": listed.key,
                    "name": listed.name,
                    "weight_bytes": listed.shape.weight_bytes,
                    "kv_bytes_per_token": listed.shape.kv_bytes(1),
                    "parameters": listed.shape.parameters,
                    "active_parameters": listed.shape.active_parameters,
                    "max_context_tokens": listed.shape.max_context_tokens,
                    "hosted_as": list(listed.hosted_as),
                    "source": listed.source,
                    "as_of": listed.as_of,
                }
                for listed in shapes()
            ]
        )
        return
    table = Table(title="Model shapes")
    for column in ("key", "name", "weights GiB", "KV KiB/token", "context", "source"):
        justify: Literal["left", "right"] = "left" if column in {"key", "name", "source"} else "right"
        table.add_column(column, justify=justify, no_wrap=column == "key")
    for listed in shapes():
        shape = listed.shape
        weights, kv = f"{shape.weight_bytes / GIB:.1f}", f"{shape.kv_bytes(1) / 1024:.0f}"
        table.add_row(listed.key, listed.name, weights, kv, f"{shape.max_context_tokens:,}", listed.source)
    out.print(table)


def _named_figures(machine: Machine) -> dict[str, Figure | None]:
    figures = {
        "memory_gib": machine.memory_gib,
        "bandwidth_gb_s": machine.bandwidth_gb_s,
        "price_usd": machine.price_usd,
        "idle_watts": machine.idle_watts,
        "load_watts": machine.load_watts,
    }
    for speed in machine.speeds:
        figures[f"prefill_tokens_per_second {speed.shape}"] = speed.prefill
        figures[f"decode_tokens_per_second {speed.shape}"] = speed.decode
    return figures


def _machine_document(machine: Machine) -> dict[str, Any]:
    figures = {name: None if f is None else _figure_document(f) for name, f in _named_figures(machine).items()}
    return {"key": machine.key, "name": machine.name, "family": machine.family, "cards": machine.cards, **figures}


def _figure_document(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "kind": figure.kind,
        "source": figure.source,
        "as_of": figure.as_of,
    }


def _span(figure: Figure) -> str:
    return f"{figure.low:,}" if figure.low == figure.high else f"{figure.low:,}–{figure.high:,}"


def _cell(figure: Figure | None) -> str:
    return "[dim]–[/]" if figure is None else f"{_span(figure)}[dim]{MARKS[figure.kind]}[/]"
