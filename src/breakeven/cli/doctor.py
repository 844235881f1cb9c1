"""``breakeven doctor``: one page on how box, books and figures stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.box.checkup.finding import Finding

EPILOG = "Example: [bold]breakeven doctor[/], or for a monitor: [bold]breakeven doctor --json --no-probe[/]"
MARKS = {"green": "[green]●[/]", "amber": "[yellow]▲[/]", "red": "[red]✖[/]", "unknown": "[dim]?[/]"}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def doctor(
        probe: bool = typer.Option(True, help="Send prompts to see whether whole ones are read; takes some seconds."),
        config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Look at box, books and figures: what is well, what is not, why, and what to do.

        Exit code 1 when something is red.
        """
        import asyncio

        from breakeven import config as configuration
        from breakeven.box.checkup.examine import examine
        from breakeven.box.checkup.gather import gather
        from breakeven.errors import InputError

        with console.reporting_errors():
            file, error = configuration.find_file(config), None
            try:
                settings = configuration.load(file)
            except InputError as wrong:
                settings, error = configuration.load(None), wrong
            with console.err.status("looking around"):
                home = console.home_of(settings)
                facts = asyncio.run(gather(settings, home, file, probe=probe, config_error=error))
            findings = examine(facts)
            failed = any(finding.status == "red" for finding in findings)
            if as_json:
                console.print_json({"healthy": not failed, "findings": findings})
            else:
                _show(findings)
            if failed:
                raise typer.Exit(console.EXIT_FAILED)


def _show(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    rows = Table.grid(padding=(0, 1))
    rows.add_column()
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for finding in findings:
        says = escape(finding.says)
        if finding.remedy:
            says += f"\n[dim]→[/] {escape(finding.remedy)}"
        rows.add_row(MARKS[finding.status], finding.check, says)
    console.out.print(rows, highlight=False)
    counts = {status: sum(finding.status == status for finding in findings) for status in MARKS}
    console.out.print(
        f"\n{counts['red']} red, {counts['amber']} amber, {counts['green']} green, {counts['unknown']} unknown",
        highlight=False,
    )
