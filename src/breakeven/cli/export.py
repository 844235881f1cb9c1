"""``breakeven export``: the ledger's calls as JSON lines, for another ledger, a trace, or a program of one's own."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import typer

from breakeven.cli.console import err, home_of, load_settings, reporting_errors

EPILOG = (
    "Example: [bold]breakeven export --month 2026-11 > calls.jsonl[/], then elsewhere [bold]breakeven import "
    "calls.jsonl[/] or [bold]breakeven plan --trace calls.jsonl[/]."
)


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command(epilog=EPILOG)(export)


def export(
    month: str | None = typer.Option(None, metavar="YYYY-MM", help="Calendar month in UTC; by default everything."),
    origin: str | None = typer.Option(None, help="Only this origin: gateway, or an import such as import:codex."),
    output: Path | None = typer.Option(None, "--output", "-o", help="File to write; by default standard output."),
    config_file: Path | None = typer.Option(None, "--config", help="Configuration file."),
) -> None:
    """Write calls and imported buckets as JSON lines, each with all that the ledger keeps of it.

    Amounts are exact decimal strings. Nothing of prompts or answers is in it, because the ledger has none of it.
    """
    with reporting_errors():
        from breakeven.ledger.drain import recover
        from breakeven.ledger.importers.fields import LATEST
        from breakeven.ledger.importers.own import bucket_line, call_line
        from breakeven.ledger.ledger import JOURNAL_FOLDER
        from breakeven.ledger.statement import Month
        from breakeven.ledger.store import Store

        settings = load_settings(config_file)
        since, until = (0.0, LATEST) if month is None else Month.parse(month).seconds
        store = Store.open(settings.ledger, home_of(settings))
        try:
            if recover(home_of(settings) / JOURNAL_FOLDER, store):
                err.print("Some calls are on their way into the ledger and not in this export.")
            lines = 0
            with nullcontext(sys.stdout.buffer) if output is None else output.open("wb") as stream:
                for call in store.calls(since, until, origin=origin):
                    stream.write(call_line(call) + b"\n")
                    lines += 1
                for bucket in store.buckets(since, until, origin=origin):
                    stream.write(bucket_line(bucket) + b"\n")
                    lines += 1
        finally:
            store.close()
        err.print(f"{lines:,} records written.")
