"""``breakeven import``: usage from the logs and reports of others, into the ledger beside our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from breakeven.cli import console
from breakeven.errors import InputError
from breakeven.units import tokens, usd

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.ledger.importers.found import Options
    from breakeven.ledger.importers.run import Account, Books
    from breakeven.ledger.importers.sources import Located, Selection

EXIT_SKIPPED = 3
"""Everything readable was imported, and some lines were not readable."""

EPILOG = (
    "Example: [bold]breakeven import ~/.claude/projects --billed none[/], then [bold]breakeven statement[/].\n\n"
    "Exit codes: 0 all imported, 2 wrong usage, 3 imported with lines skipped, 1 failed."
)


class Billed(StrEnum):
    """How the calls are paid for."""

    API = "api"
    NONE = "none"


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("import", epilog=EPILOG)(import_usage)


def import_usage(
    paths: list[Path] = typer.Argument(None, metavar="PATH...", help="Files and folders of logs or reports."),
    source: str | None = typer.Option(
        None, "--format", help="Source of all files; by default each one's is found out."
    ),
    billed: Billed | None = typer.Option(
        None,
        help="Claude Code, Codex: api, paid by the token; none, by a subscription, whose fee is in no log.",
    ),
    columns: list[str] = typer.Option([], "--map", metavar="FIELD=COLUMN", help="CSV: the column of a field."),
    constants: list[str] = typer.Option([], "--set", metavar="FIELD=VALUE", help="CSV: a field's value in all rows."),
    input_includes_cached: bool | None = typer.Option(
        None,
        "--input-includes-cached/--input-excludes-cached",
        help="CSV (and OTLP): whether input counts include cached tokens. CSV has no default.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Read everything and change nothing."),
    find: bool = typer.Option(False, "--find", help="List logs that lie on this machine."),
    forget: str | None = typer.Option(None, metavar="ORIGIN", help="Remove an import, for instance import:csv."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON with exact amounts."),
    config_file: Path | None = typer.Option(None, "--config", help="Configuration file."),
) -> None:
    """Import usage from Claude Code, Codex, OpenAI, Anthropic, OpenRouter, LiteLLM, Ollama, OpenTelemetry or CSV.

    The same file twice, grown, moved or overlapping with another changes nothing that is there already. Prompts and
    answers are not read into the ledger.
    """
    with console.reporting_errors():
        settings = console.load_settings(config_file)
        if find:
            _find(as_json)
        elif forget is not None:
            _forget(settings, forget, as_json)
        else:
            from breakeven.ledger.importers.found import Options

            options = Options(input_includes_cached, _pairs("--map", columns), _pairs("--set", constants))
            _import(settings, paths or [], source, billed, options, dry_run=dry_run, as_json=as_json)


def _import(
    settings: Settings,
    paths: Sequence[Path],
    source: str | None,
    billed: Billed | None,
    options: Options,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from breakeven.catalog.prices import open_book
    from breakeven.ledger.importers.price import Pricer
    from breakeven.ledger.importers.run import Import
    from breakeven.ledger.importers.sources import select

    if not paths:
        raise InputError("nothing to import", remedy="Name files or folders, or see --find.")
    selection = select(paths, source)
    _prepare(selection, billed, options)
    reference = (settings.reference.provider, settings.reference.model)
    home = console.home_of(settings)
    pricer = Pricer(open_book(settings.prices, home), reference)
    with _books(settings, home, dry_run=dry_run) as books, reading(selection.files) as progress:
        subscribed = billed is Billed.NONE
        accounts = Import(books, pricer, options, subscribed=subscribed, progress=progress).run(selection.files)
    if as_json:
        console.print_json({"dry_run": dry_run, "files_passed_over": selection.passed_over, "sources": accounts})
    else:
        _show(accounts, selection.passed_over, dry_run=dry_run)
    if any(account.skipped for account in accounts):
        raise typer.Exit(EXIT_SKIPPED)


@contextmanager
def _books(settings: Settings, home: Path, *, dry_run: bool) -> Iterator[Books]:
    from breakeven.ledger.importers.rehearsal import rehearsal
    from breakeven.ledger.store import Store

    if dry_run:
        with rehearsal(settings.ledger, home) as books:
            yield books
        return
    home.mkdir(parents=True, exist_ok=True)
    store = Store.open(settings.ledger, home)
    try:
        yield store
    finally:
        store.close()


def _prepare(selection: Selection, billed: Billed | None, options: Options) -> None:
    """Ask for what must be said, and say what was chosen, before anything is read."""
    if selection.passed_over and not selection.files:
        raise InputError(
            f"no file there is of a known source ({selection.passed_over:,} looked at)", remedy="Name it with --format."
        )
    heeded = {flag for file in selection.files for flag in file.importer.flags}
    if unheeded := options.flags() - heeded:
        raise InputError(f"{', '.join(sorted(unheeded))} would say nothing to these files", remedy="Leave it out.")
    untold = sorted({file.importer.name for file in selection.files if file.importer.subscription is not None})
    if untold and billed is None:
        raise InputError(
            f"the logs of {' and '.join(untold)} do not say how the calls are paid for",
            remedy="Add --billed api (by the token) or --billed none (a subscription: what the API would have charged"
            " is then the counterfactual, and nothing is billed).",
        )
    if billed is not None and not untold:
        raise InputError("--billed would say nothing to these files, which tell who pays", remedy="Leave it out.")
    for file in selection.files:
        if file.importer.prepare is not None:
            chosen = file.importer.prepare(file.path, options)
            console.err.print(f"{file.path}: {chosen}", soft_wrap=True, highlight=False, markup=False)


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise InputError(f"{flag} {text!r}: expected FIELD=VALUE, for instance {flag} input=prompt_tokens")
        pairs[name] = value
    return pairs


@contextmanager
def reading(files: Sequence[Located]) -> Iterator[Callable[[int], None]]:
    """A progress bar over files, told of bytes as they are read; nothing where nobody watches."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    total = sum(file.path.stat().st_size for file in files)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, disable=not console.err.is_terminal, transient=True) as bar:
        task = bar.add_task(f"{len(files):,} files", total=total)
        yield lambda read: bar.advance(task, read)


def _show(accounts: Sequence[Account], passed_over: int, *, dry_run: bool) -> None:
    table = Table(title="Would import" if dry_run else "Imported", title_justify="left", box=None, pad_edge=False)
    table.add_column("source", no_wrap=True)
    for heading in ("found", "new", "tokens", "billed", "from", "to"):
        table.add_column(heading, justify="right", no_wrap=True)
    for account in accounts:
        new = account.new_calls + account.new_buckets
        unknown = account.billed_unknown
        table.add_row(
            account.source,
            f"{account.calls + account.buckets:,}",
            f"{new:,}",
            tokens(account.tokens) if account.new_calls else "",
            f"{'≥ ' if unknown else ''}{usd(account.billed_usd)}" if account.new_calls else "",
            account.first_day or "",
            account.last_day or "",
        )
    console.out.print(table)
    for account in accounts:
        if account.grown_calls:
            text = f"{account.source}: {account.grown_calls:,} calls were replaced by later states of themselves."
            console.out.print(text, highlight=False)
        for why, times in sorted(account.left_out.items()):
            text = f"{account.source}: left out {times:,}: {why}."
            console.out.print(text, highlight=False, markup=False, soft_wrap=True)
        for problem in account.problems:
            where = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
            text = f"skipped {where}: {problem.what}"
            console.err.print(text, style="yellow", soft_wrap=True, highlight=False, markup=False)
        if account.skipped > len(account.problems):
            console.err.print(f"{account.source}: {account.skipped:,} skipped in all.", style="yellow")
    if passed_over:
        console.out.print(f"{passed_over:,} files of no known source were passed over.")


def _find(as_json: bool) -> None:
    from breakeven.ledger.importers.sources import on_this_machine

    found = [
        {"source": importer.name, "folder": str(folder), "files": len(files), "bytes": sum(files)}
        for importer, folder in on_this_machine()
        if (files := [file.stat().st_size for file in folder.rglob("*.jsonl")])
    ]
    if as_json:
        console.print_json(found)
    elif not found:
        console.out.print("No logs of Claude Code or Codex lie on this machine.")
    for row in [] if as_json else found:
        text = f"{row['source']}: {row['files']:,} files, {row['bytes']:,} bytes in {row['folder']}"
        console.out.print(text, highlight=False, soft_wrap=True, markup=False)
        console.out.print(f"    breakeven import {row['folder']} --billed api|none", soft_wrap=True, markup=False)


def _forget(settings: Settings, origin: str, as_json: bool) -> None:
    from breakeven.ledger.records import IMPORTED
    from breakeven.ledger.store import Store

    if not origin.startswith(IMPORTED):
        raise InputError(f"--forget {origin!r}: expected the origin of an import", remedy="For instance import:csv.")
    store = Store.open(settings.ledger, console.home_of(settings))
    try:
        removed = store.forget(origin)
    finally:
        store.close()
    if as_json:
        console.print_json({"origin": origin, "removed": removed})
    else:
        console.out.print(f"{removed:,} records of {origin} were removed.", highlight=False)
