"""``breakeven prices``: what the price book says of a model, where that comes from, and newer data for it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.cli import console
from breakeven.errors import InputError, UnknownModel

if TYPE_CHECKING:
    from breakeven.catalog.price_data import PriceData
    from breakeven.catalog.price_updates import Change, Update
    from breakeven.catalog.prices import PriceBook, PriceRow

SHOW_EXAMPLE = "Example: [bold]breakeven prices show claude-sonnet-5-5 --provider anthropic --on 2026-11-01[/]"
UPDATE_EXAMPLE = (
    "Example: [bold]breakeven prices update[/], or offline [bold]breakeven prices update --file data.json[/]"
)
CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
CHANGES_SHOWN = 8


def register(app: typer.Typer) -> None:
    """Add the commands."""
    prices = typer.Typer(help="Look into the price book, and bring it up to date.", no_args_is_help=True)
    prices.command(epilog=SHOW_EXAMPLE)(show)
    prices.command(epilog=UPDATE_EXAMPLE)(update)
    prices.command()(reset)
    app.add_typer(prices, name="prices")


def show(
    model: str = typer.Argument(help="A model, as its provider calls it."),
    provider: str | None = typer.Option(None, help="Only this provider; by default all that list the model."),
    on: str | None = typer.Option(None, metavar="YYYY-MM-DD", help="The day whose prices to show; by default today."),
    batch: bool = typer.Option(False, "--batch", help="The batch tier."),
    config: Path | None = typer.Option(None, help="Configuration file."),
    as_json: bool = typer.Option(False, "--json", help="Print the rows as JSON."),
) -> None:
    """Show the rates of a model by token class and tier, their source and date, and what an update changed."""
    with console.reporting_errors():
        from breakeven.catalog.price_data import Snapshot
        from breakeven.catalog.prices import PriceBook, open_book

        now = datetime.now(UTC)
        at = _midnight(on) if on is not None else now
        settings = console.load_settings(config)
        book = open_book(settings.prices, settings.home)
        names = [provider] if provider is not None else book.providers_of(model)
        rows = [row for name in names if (row := book.find(name, model, at=at, batch=batch)) is not None]
        if not rows:
            raise _unknown(book, model, provider, batch=batch)
        bundled = PriceBook({}, Snapshot.bundled())

        def against_bundled(row: PriceRow) -> list[Change] | None:
            from breakeven.catalog.price_updates import changes

            before = bundled.find(row.provider, model, at=at, batch=batch)
            return None if before is None else list(changes(before, row))

        if as_json:
            console.print_json([_record(row, book.data, now, against_bundled(row)) for row in rows])
            return
        for row in rows:
            _print(row, against_bundled(row), is_bundled=row.source == bundled.data.source)
        _print_data(book.data, now)


def update(
    url: str | None = typer.Option(None, help="Another address with the same data; by default genai-prices' own."),
    file: Path | None = typer.Option(None, help="A file fetched elsewhere, instead of the network."),
    accept: list[str] = typer.Option(
        [], metavar="PROVIDER/MODEL", help="A model whose price may jump more than a hundredfold. Repeatable."
    ),
    config: Path | None = typer.Option(None, help="Configuration file."),
    as_json: bool = typer.Option(False, "--json", help="Print what changed as JSON."),
) -> None:
    """Fetch newer prices and use them from now on; what is not sound as a whole is refused, and the last ones stay.

    What is recorded already keeps its prices. A running gateway takes the new ones when it is started again.
    """
    with console.reporting_errors():
        from breakeven.catalog import price_updates

        if url is not None and file is not None:
            raise InputError("--url and --file exclude each other")
        settings = console.load_settings(config)
        where = file if file is not None else url or price_updates.source_url()
        done = price_updates.update(console.home_of(settings), where, datetime.now(UTC), accepted=accept)
        if as_json:
            console.print_json(_update_record(done))
        else:
            _print_update(done)


def reset(config: Path | None = typer.Option(None, help="Configuration file.")) -> None:
    """Drop the update and go back to the prices that came with the installation."""
    with console.reporting_errors():
        from breakeven.catalog.price_data import bundled, discard

        there_was_one = discard(console.home_of(console.load_settings(config)))
        what = "Dropped the update; prices" if there_was_one else "There was no update; prices"
        console.out.print(f"{what} are those of {bundled().source}.", highlight=False)


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


def _print(row: PriceRow, changed: list[Change] | None, *, is_bundled: bool) -> None:
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
    if is_bundled:
        return
    if changed is None:
        console.out.print("against the bundled prices: a model they do not have", highlight=False)
    else:
        text = "; ".join(_change(change) for change in changed) or "no difference"
        console.out.print(f"against the bundled prices: {text}", highlight=False)


def _print_data(data: PriceData, now: datetime) -> None:
    if data.problem is not None:
        console.err.print(f"[yellow]![/] {data.problem}", highlight=False)
    if data.update is None:
        console.out.print(
            f"\nprices of {data.source}, as installed; breakeven prices update fetches newer ones", highlight=False
        )
        return
    record = data.update
    age = (now - record.fetched_at).days
    days = f"{age} day{'' if age == 1 else 's'} old"
    console.out.print(
        f"\nprices fetched {record.fetched_at:%Y-%m-%d} ({days}) from {record.url}, sha256 {record.sha256}",
        highlight=False,
        soft_wrap=True,
    )


def _change(change: Change) -> str:
    before, after = ("none" if rate is None else f"${rate}" for rate in (change.before, change.after))
    return f"{change.token_class.replace('_', ' ')} {before} → {after}"


def _print_update(done: Update) -> None:
    found, record = done.comparison, done.record
    head = "Prices updated" if done.is_new else "Prices are up to date"
    console.out.print(
        f"[bold]{head}[/]: {done.models:,} models of {done.providers} providers, from {record.url}\n"
        f"sha256 {record.sha256}, kept in {done.path}",
        highlight=False,
        soft_wrap=True,
    )
    console.out.print(
        f"{len(found.added):,} models added, {len(found.removed):,} gone, {len(found.changed):,} rates changed"
        f"{':' if found.changed else '.'}",
        highlight=False,
    )
    for change in found.changed[:CHANGES_SHOWN]:
        console.out.print(f"  {change.name}: {_change(change)}", highlight=False, markup=False)
    if len(found.changed) > CHANGES_SHOWN:
        console.out.print(f"  … and {len(found.changed) - CHANGES_SHOWN:,} more (--json lists them)", highlight=False)


def _update_record(done: Update) -> dict[str, Any]:
    found, record = done.comparison, done.record
    return {
        "is_new": done.is_new,
        "url": record.url,
        "fetched_at": record.fetched_at,
        "sha256": record.sha256,
        "source": record.source,
        "models": done.models,
        "providers": done.providers,
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": [_change_record(change) for change in found.changed],
    }


def _change_record(change: Change) -> dict[str, Any]:
    return {
        "model": change.name,
        "token_class": change.token_class,
        "before": change.before,
        "after": change.after,
    }


def _record(row: PriceRow, data: PriceData, now: datetime, changed: list[Change] | None) -> dict[str, Any]:
    from dataclasses import asdict

    record = data.update
    return {
        **asdict(row),
        "data": {
            "source": data.source,
            "url": record and record.url,
            "fetched_at": record and record.fetched_at,
            "age_days": record and (now - record.fetched_at).days,
            "problem": data.problem,
        },
        "changed_against_bundled": None if changed is None else [_change_record(change) for change in changed],
    }
