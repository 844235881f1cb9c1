"""``breakeven reprice``: past calls at other prices or models, without touching what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.cli import books
from breakeven.cli.console import load_settings, out, print_json, reporting_errors
from breakeven.errors import InputError, UnknownModel
from breakeven.units import UNKNOWN, tokens, usd

if TYPE_CHECKING:
    from breakeven.catalog.prices import PriceBook
    from breakeven.config import Settings
    from breakeven.planning.reprice import BucketRange, Repriced, Repricing, Target

EPILOG = "Example: [bold]breakeven reprice --month 2026-10 --as anthropic/claude-sonnet-5-5 --as openai/gpt-6-luna[/]"


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""

    @app.command(epilog=EPILOG)
    def reprice(
        month: str | None = typer.Option(None, metavar="YYYY-MM", help="Calendar month in UTC; by default this one."),
        since: str | None = typer.Option(None, metavar="YYYY-MM-DD", help="First day, instead of a month."),
        until: str | None = typer.Option(None, metavar="YYYY-MM-DD", help="Last day, instead of a month."),
        models: list[str] = typer.Option(
            [], "--as", metavar="PROVIDER/MODEL", help="Price with this model. Repeatable; by default each call's own."
        ),
        prices_on: str | None = typer.Option(
            None, metavar="YYYY-MM-DD", help="Prices of this day, instead of the time of each call."
        ),
        origin: str | None = typer.Option(
            None,
            help="Calls of this origin: gateway, an import such as import:codex, or all. By default the gateway's.",
        ),
        as_json: bool = typer.Option(False, "--json", help="Print JSON with exact amounts."),
        config_file: Path | None = typer.Option(None, "--config", help="Configuration file."),
    ) -> None:
        """What past calls would have cost with other models, or at the prices of another day.

        Each call is priced in its own tier with its own cached tokens. Nothing recorded is changed.
        """
        with reporting_errors():
            now = datetime.now(UTC)
            found = books.period(month or (None if since or until else f"{now:%Y-%m}"), since, until)
            assert found is not None, "a month is given by default"  # noqa: S101
            day = None if prices_on is None else books.midnight(books.day("--prices-on", prices_on))
            done = _reprice(load_settings(config_file), found, models, day, origin)
            if done is None:
                _say_empty(found, as_json=as_json)
            elif as_json:
                print_json(_document(done))
            else:
                _show(done)


def _reprice(
    settings: Settings,
    when: tuple[datetime, datetime],
    models: list[str],
    prices_on: datetime | None,
    origin: str | None,
) -> Repricing | None:
    from breakeven.catalog.prices import open_book
    from breakeven.planning.reprice import Period, Target, reprice

    book = open_book(settings.prices, settings.home)
    targets = tuple(_target(name, book, prices_on or when[1]) for name in models) or (Target(),)
    catalog = {name: provider.catalog for name, provider in settings.providers.items() if provider.catalog}
    since, until = (moment.timestamp() for moment in when)
    with books.opened(settings) as store:
        if store is None:
            return None
        origin = books.one_origin(store, when, origin)
        parts = store.usage(since, until, origin=origin)
        buckets = store.buckets(since, until, origin=origin)
        done = reprice(parts, buckets, targets, book, Period(*when), prices_on=prices_on, catalog=catalog)
    return done if done.servers or done.buckets else None


def _target(name: str, book: PriceBook, at: datetime) -> Target:
    from breakeven.planning.reprice import Target

    provider, slash, model = name.partition("/")
    if not slash or not provider or not model:
        raise InputError(f"--as {name!r}: expected provider/model, for instance anthropic/claude-sonnet-5-5")
    if book.find(provider, model, at=at) is None:
        raise UnknownModel(
            f"the price of {name} is unknown", remedy=f"Look it up with breakeven prices show {model.rsplit('/')[-1]}."
        )
    return Target(provider, model)


def _say_empty(when: tuple[datetime, datetime], *, as_json: bool) -> None:
    if as_json:
        print_json({"since": when[0], "until": when[1], "calls": 0, "servers": [], "aggregates": []})
    else:
        out.print(f"No calls from {when[0]:%Y-%m-%d} to before {when[1]:%Y-%m-%d}.")


def _show(done: Repricing) -> None:
    from rich.markup import escape
    from rich.table import Table

    prices = "of each call's own time" if done.prices_on is None else f"of {done.prices_on:%Y-%m-%d}"
    out.print(
        f"[bold]Repriced[/] calls from {done.period.since:%Y-%m-%d} to before {done.period.until:%Y-%m-%d} (UTC),"
        f" at prices {prices}; call by call, each in its own tier",
        highlight=False,
    )
    if done.servers:
        table = Table(box=None, pad_edge=False)
        unknown = any(total.unknown_calls for total in done.totals)
        columns = ("calls", "tokens", "billed", "repriced", "difference", *(("unknown",) if unknown else ()))
        table.add_column("", overflow="fold")
        for heading in columns:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in done.servers:
            served = row.served
            name = escape(f"{served.provider} / {served.model} ({served.locality})")
            billed = _amount(row.billed, row.billed_unknown_calls, row.calls)
            table.add_row(name, f"{row.calls:,}", tokens(row.tokens), billed)
            for repriced in row.targets:
                table.add_row(*_cells(repriced)[: len(columns) + 1])
        if len(done.servers) > 1:
            calls = sum(row.calls for row in done.servers)
            unbilled = sum(row.billed_unknown_calls for row in done.servers)
            volume = tokens(sum(row.tokens for row in done.servers))
            table.add_row("[bold]all[/]", f"{calls:,}", volume, _amount(done.billed, unbilled, calls))
            for repriced in done.totals:
                table.add_row(*_cells(repriced)[: len(columns) + 1])
        out.print(table)
        out.print(
            "[dim]difference: repriced less billed, over the calls for which both are known; local calls are billed"
            " nothing, their cost is in the statement[/]",
            highlight=False,
        )
    _show_buckets(done)
    if done.not_kept_attempts:
        out.print(
            f"[dim]Besides, {done.not_kept_attempts:,} attempts whose answer nobody got were billed"
            f" {usd(done.not_kept_billed)}; they are not repriced.[/]",
            highlight=False,
        )
    for name, source, effective, calls in _sources(done):
        out.print(
            f"[dim]{escape(name)}: {escape(source)}, {effective or 'undated'}, {calls:,} calls[/]", highlight=False
        )


def _cells(repriced: Repriced) -> tuple[str, ...]:
    from rich.markup import escape

    everything_unknown = not repriced.priced_calls and not repriced.ranged_calls
    amount = UNKNOWN if everything_unknown else usd(repriced.least)
    if repriced.ranged_calls:
        amount = f"{usd(repriced.least)} to {usd(repriced.most)}"
    difference = UNKNOWN
    if repriced.compared_calls:
        sign = "+" if repriced.difference > 0 else ""
        difference = f"{sign}{usd(repriced.difference)}"
    unknown = f"{repriced.unknown_calls:,}" if repriced.unknown_calls else ""
    return f"  as {escape(repriced.target)}", "", "", "", amount, difference, unknown


def _amount(known: Decimal, unknown: int, calls: int) -> str:
    if unknown >= calls:
        return UNKNOWN
    return f"≥ {usd(known)}" if unknown else usd(known)


def _show_buckets(done: Repricing) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not done.buckets:
        return
    out.print(
        "\n[bold]Known as sums only[/]: without single calls no tier is certain, so a range holds any in reach",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(("", "requests", "tokens", "billed", "repriced")):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for row in done.buckets:
        requests = UNKNOWN if row.requests is None else f"{row.requests:,}"
        all_unknown = row.billed_unknown_buckets == row.buckets
        billed = UNKNOWN if all_unknown else _between(row.billed_least, row.billed_most)
        table.add_row(escape(f"{row.provider} / {row.model}"), requests, tokens(row.tokens), billed)
        for found in row.targets:
            table.add_row(f"  as {escape(found.target)}", "", "", "", _bucket_amount(found, row.buckets))
    out.print(table)


def _bucket_amount(found: BucketRange, buckets: int) -> str:
    if found.unknown_buckets == buckets:
        return UNKNOWN
    text = _between(found.least, found.most)
    return f"{text}, {found.unknown_buckets} of {buckets} unknown" if found.unknown_buckets else text


def _between(least: Decimal, most: Decimal) -> str:
    return usd(least) if least == most else f"{usd(least)} to {usd(most)}"


def _sources(done: Repricing) -> list[tuple[str, str, str | None, int]]:
    return [
        (total.target, source, effective, calls)
        for total in done.totals
        for (source, effective), calls in total.price_sources.most_common()
    ]


def _document(done: Repricing) -> dict[str, Any]:
    return {
        "since": done.period.since,
        "until": done.period.until,
        "prices_on": done.prices_on and done.prices_on.date().isoformat(),
        "calls": sum(row.calls for row in done.servers),
        "billed_usd": done.billed,
        "totals": [_repriced(total) for total in done.totals],
        "servers": [
            {
                "provider": row.served.provider,
                "model": row.served.model,
                "locality": row.served.locality,
                "calls": row.calls,
                "tokens": row.tokens,
                "uncounted_calls": row.uncounted_calls,
                "billed_usd": row.billed,
                "billed_unknown_calls": row.billed_unknown_calls,
                "targets": [_repriced(target) for target in row.targets],
            }
            for row in done.servers
        ],
        "aggregates": [
            {
                "provider": row.provider,
                "model": row.model,
                "buckets": row.buckets,
                "requests": row.requests,
                "tokens": row.tokens,
                "billed_least_usd": row.billed_least,
                "billed_most_usd": row.billed_most,
                "billed_unknown_buckets": row.billed_unknown_buckets,
                "targets": [
                    {
                        "model": target.target,
                        "least_usd": target.least,
                        "most_usd": target.most,
                        "unknown_buckets": target.unknown_buckets,
                    }
                    for target in row.targets
                ],
            }
            for row in done.buckets
        ],
        "not_kept": {"attempts": done.not_kept_attempts, "billed_usd": done.not_kept_billed},
    }


def _repriced(found: Repriced) -> dict[str, Any]:
    return {
        "model": found.target,
        "usd": found.usd,
        "priced_calls": found.priced_calls,
        "ranged_calls": found.ranged_calls,
        "least_usd": found.least,
        "most_usd": found.most,
        "unknown_calls": found.unknown_calls,
        "difference_usd": found.difference if found.compared_calls else None,
        "compared_calls": found.compared_calls,
        "price_sources": [
            {"source": source, "effective": effective, "calls": calls}
            for (source, effective), calls in found.price_sources.most_common()
        ],
    }
