"""``breakeven prices``: what the price book says of a model, and where that comes from."""

from __future__ import annotations

from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console
from breakeven.errors import InputError, UnknownModel

if TYPE_CHECKING:
    from breakeven.catalog.prices import PriceBook, PriceRow

EPILOG = "Example: [bold]breakeven prices show claude-sonnet-5-5 --provider anthropic --on 2026-11-01[/]"
CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    prices = typer.Typer(help="Look into the price book.", no_args_is_help=True)
    prices.command(epilog=EPILOG)(show)
    prices.callback()(_keep_the_subcommand)
    app.add_typer(prices, name="prices")


def _keep_the_subcommand() -> None:
    """Without a callback a group with one command would swallow its name."""


def show(
    model: str = typer.Argument(help="A model, as its provider calls it."),
    provider: str | None = typer.Option(None, help="Only this provider; by default all that list the model."),
    on: str | None = typer.Option(None, metavar="YYYY-MM-DD", help="The day whose prices to show; by default today."),
    batch: bool = typer.Option(False, "--batch", help="The batch tier."),
    config: Path | None = typer.Option(None, help="Configuration file."),
    as_json: bool = typer.Option(False, "--json", help="Print the rows as JSON."),
) -> None:
    """Show the rates of a model by token class and tier, with their source and date."""
    with console.reporting_errors():
        from breakeven.catalog.prices import open_book

        at = _midnight(on) if on is not None else datetime.now(UTC)
        book = open_book(console.load_settings(config).prices)
        names = [provider] if provider is not None else book.providers_of(model)
        rows = [row for name in names if (row := book.find(name, model, at=at, batch=batch)) is not None]
        if not rows:
            raise _unknown(book, model, provider, batch=batch)
        if as_json:
            console.print_json([_record(row) for row in rows])
        else:
            for row in rows:
                _print(row)


def _midnight(day: str) -> datetime:
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        raise InputError(f"--on {day!r}: expected a day, YYYY-MM-DD") from None
    return datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC)


def _unknown(book: PriceBook, model: str, provider: str | None, *, batch: bool) -> UnknownModel:
    what = f"{provider}/{model}" if provider is not None else model
    tier = " in the batch tier" if batch else ""
    close = get_close_matches(model.lower(), book.model_names(), n=5)
    remedy = f"Close to it: {', '.join(close)}." if close else 'Add it under [prices."provider/model"].'
    return UnknownModel(f"the price of {what}{tier} is unknown", remedy=remedy)


def _print(row: PriceRow) -> None:
    from rich.table import Table

    table = Table(title=f"{row.provider} / {row.model}", title_justify="left")
    for heading in ("token class", "USD per million", "above, for the whole call"):
        table.add_column(heading)
    for name in CLASSES:
        rate = getattr(row.rates, name)
        if rate is not None:
            tiers = ", ".join(f"{start:,} prompt tokens: {price}" for start, price in rate.tiers)
            table.add_row(name.replace("_", " "), str(rate.base), tiers)
    console.out.print(table)
    effective = row.effective.isoformat() if row.effective else "undated"
    console.out.print(f"source {row.source}, effective {effective}, row {row.snapshot}", highlight=False)


def _record(row: PriceRow) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(row)
