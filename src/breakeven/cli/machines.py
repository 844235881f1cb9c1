"""``breakeven machines``: the machines of the catalogue, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.catalog.figures import Figure
    from breakeven.catalog.machines import Machine

EPILOG = """Example: [bold]breakeven machines[/], then machine = "m4-max-128" under [[box]] in breakeven.toml."""

SHAPE = "llama-3.3-70b-q4_k_m"
"""The model shape whose rates are listed."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def machines(as_json: bool = typer.Option(False, "--json", help="Print every figure with its source.")) -> None:
        """List the machines that `[box] machine` may name."""
        from rich.table import Table

        from breakeven.catalog.machines import machines as catalogue

        if as_json:
            console.print_json([_record(machine) for machine in catalogue()])
            return
        table = Table(title="Machines", title_justify="left")
        table.add_column("machine", no_wrap=True)
        for heading in ("memory GiB", "price $", "idle W", "load W", "70B: prefill / decode tok/s"):
            table.add_column(heading, justify="right")
        for machine in catalogue():
            speed = machine.speed(SHAPE)
            figures = (machine.memory_gib, machine.price_usd, machine.idle_watts, machine.load_watts)
            rates = f"{_shown(speed.prefill)} / {_shown(speed.decode)}"
            table.add_row(machine.key, *(_shown(figure) for figure in figures), rates)
        console.out.print(table)
        console.out.print("Sources and dates of each figure: breakeven machines --json", highlight=False)


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:g}" if figure.low == figure.high else f"{figure.low:g}–{figure.high:g}"


def _record(machine: Machine) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(machine)
