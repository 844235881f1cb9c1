"""``breakeven statement``: what a month's calls used, what they cost, and what the cloud would have charged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from msgspec.structs import asdict
from rich.table import Table

from breakeven.cli.console import err, load_settings, out, print_json, reporting_errors
from breakeven.cli.imported_view import show_imported
from breakeven.units import UNKNOWN, tokens, usd, watt_hours

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.ledger.imported import ImportedUsage
    from breakeven.ledger.statement import Avoided, Statement, Sum

PATIENCE_SECONDS = 1.0
"""How long to wait for a running gateway to write its newest calls, which takes it a fifth of a second."""


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""

    @app.command()
    def statement(
        month: str | None = typer.Option(None, metavar="YYYY-MM", help="Calendar month in UTC; by default this one."),
        origin: str | None = typer.Option(
            None, help="Only calls of this origin: gateway, or an import such as import:claude-code. By default all."
        ),
        as_json: bool = typer.Option(False, "--json", help="Print JSON with exact amounts."),
        config_file: Path | None = typer.Option(None, "--config", help="Configuration file."),
    ) -> None:
        """What the month's calls used, what they cost, and what the cloud would have charged.

        Imported usage stands beside that, each source by itself, because sources may tell of the same calls.
        Works while the gateway is running. Example: breakeven statement --month 2026-11 --json
        """
        with reporting_errors():
            show_statement(load_settings(config_file), month, origin=origin, as_json=as_json)


def show_statement(
    settings: Settings, month_text: str | None = None, *, origin: str | None = None, as_json: bool = False
) -> None:
    """Print the statement of a month, by default the current one.

    Raises:
        InputError: it is not a month.
        LedgerError: the books cannot be read.
    """
    from breakeven.catalog.machines import box_cost
    from breakeven.ledger.database import FILE_NAME
    from breakeven.ledger.drain import recover
    from breakeven.ledger.imported import summarise
    from breakeven.ledger.ledger import JOURNAL_FOLDER
    from breakeven.ledger.statement import Month, compute
    from breakeven.ledger.store import Store

    month = Month.parse(month_text or datetime.now(UTC).strftime("%Y-%m"))
    assert settings.home is not None, "load_settings fills it in"  # noqa: S101
    journal_folder = settings.home / JOURNAL_FOLDER
    if settings.ledger.url is None and not (settings.home / FILE_NAME).exists() and not journal_folder.exists():
        _say_empty(str(month), "", as_json)
        return
    store = Store.open(settings.ledger, settings.home)
    try:
        pending = recover(journal_folder, store, patience_seconds=PATIENCE_SECONDS)
        totals, provenance = store.daily(month.since, month.until, origin=origin, imported=False)
        foreign, _ = store.daily(month.since, month.until, origin=origin, imported=True)
        sources = {name: store.daily(month.since, month.until, origin=name)[1] for name in {t.origin for t in foreign}}
        imported = summarise(foreign, sources, store.buckets(*month.seconds, origin=origin))
        days = store.days()
    finally:
        store.close()
    if pending:
        err.print(f"{pending:,} bytes of calls are on their way into the ledger and not counted yet.")
    found = compute(month, totals, provenance, box_cost(settings.box))
    if found is None:
        if imported and not as_json:
            show_imported(str(month), imported, detailed=origin is not None)
            return
        hint = "" if days is None else f" The ledger holds calls from {days[0]} to {days[1]}."
        _say_empty(str(month), hint, as_json, imported)
    elif as_json:
        print_json(asdict(found) | {"imported": imported})
    else:
        _show(found)
        show_imported(str(month), imported, detailed=origin is not None)


def _say_empty(month: str, hint: str, as_json: bool, imported: Sequence[ImportedUsage] = ()) -> None:
    sentence = f"No calls in {month} yet.{hint or ' Point a client at `breakeven serve` and come back.'}"
    if as_json:
        verdict = {"code": "no_calls", "sentence": sentence}
        print_json({"month": month, "calls": {"total": 0}, "verdict": verdict, "imported": imported})
    else:
        out.print(sentence)


def _show(statement: Statement) -> None:
    coverage = statement.coverage
    out.print(f"[bold]Statement for {statement.month}[/] (UTC)")
    origins = ", ".join(f"{name} {count:,}" for name, count in coverage.origins.items())
    out.print(f"Calls from {coverage.first_call:%Y-%m-%d %H:%M} to {coverage.last_call:%Y-%m-%d %H:%M}; {origins}\n")
    out.print(_volume(statement))
    out.print(_servers(statement))
    if statement.invoiced:
        out.print(_invoiced(statement))
    out.print(_costs(statement))
    out.print(_formula(statement))
    out.print(f"\n{statement.verdict.sentence}\n", style="bold", soft_wrap=True, highlight=False, markup=False)
    for note in statement.notes:
        count = "" if note.attempts is None else f" ({note.attempts:,} attempts)"
        text = f"{note.figure.replace('_', ' ')}: {note.text}{count}"
        out.print(text, style="dim", soft_wrap=True, highlight=False, markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(columns[0] if columns else "", no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right")
    if not columns:
        table.show_header = False
        table.add_column("", justify="right", min_width=14)
        table.add_column("", style="dim")
    return table


def _volume(statement: Statement) -> Table:
    calls, used, discarded = statement.calls, statement.tokens, statement.discarded_tokens
    table = _table("Volume")
    table.add_row("calls", f"{calls.total:,}", f"{calls.served_locally:,} served locally, {calls.attempts:,} attempts")
    endings = [
        f"{getattr(calls, name):,} {name.replace('_', ' ')}" for name in ("failed", "refused", "cut", "client_left")
    ]
    table.add_row(
        "  completed", f"{calls.completed:,}", ", ".join(text for text in endings if not text.startswith("0 "))
    )
    table.add_row("  escalated", f"{calls.escalated:,}", "paid twice: locally, then remotely")
    unknown = f"at least; {used.unknown_attempts:,} calls uncounted" if used.unknown_attempts else ""
    table.add_row("tokens", tokens(used.total), unknown)
    for name in ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
        table.add_row(f"  {name.replace('_', ' ')}", tokens(getattr(used, name)))
    if used.reasoning:
        table.add_row("    of it reasoning", tokens(used.reasoning))
    if discarded.total or discarded.unknown_attempts:
        table.add_row("  besides, in attempts not kept", tokens(discarded.total))
    return table


def _servers(statement: Statement) -> Table:
    table = _table("\nServed by", "", "calls", "tokens", "billed", "counterfactual")
    for row in statement.served_by:
        name = f"{row.provider} / {row.model} ({row.locality})"
        table.add_row(name, f"{row.calls:,}", tokens(row.tokens), _amount(row.billed), _amount(row.counterfactual))
    return table


def _invoiced(statement: Statement) -> Table:
    table = _table("\nInvoiced, by key", "", "attempts", "tokens", "billed")
    for row in statement.invoiced:
        name = f"{row.provider} / {row.provider_key or 'no key known'}"
        table.add_row(name, f"{row.attempts:,}", tokens(row.tokens), _amount(row.billed))
    return table


def _costs(statement: Statement) -> Table:
    local, avoided = statement.local, statement.avoided
    table = _table("\nCost")
    table.add_row("billed by providers", *_known(statement.billed))
    table.add_row("local: marginal energy", *_known(local.marginal_energy))
    table.add_row("local: share of idle power", *_known(local.idle_share))
    table.add_row("local: share of purchase and care", *_known(local.amortisation_share))
    table.add_row("box standing idle", usd(local.standing_idle), "fixed cost of this time that no call used")
    missing = local.watt_hours.unknown_attempts
    energy = UNKNOWN if missing and not local.watt_hours.known else watt_hours(float(local.watt_hours.known))
    table.add_row("marginal energy", energy, f"at least; {missing:,} unknown" if missing else "")
    table.add_row("counterfactual, all calls", *_known(statement.counterfactual))
    table.add_row("avoided by serving locally", usd(avoided.usd), _avoided_note(avoided))
    return table


def _avoided_note(avoided: Avoided) -> str:
    if avoided.usd is None:
        return "prices or the machine are unknown"
    bound = "" if avoided.bound == "exact" else f"{avoided.bound.replace('_', ' ')}; "
    negative = "; negative: the cloud would have been cheaper for them" if avoided.usd < 0 else ""
    return f"{bound}their counterfactual less their local cost{negative}"


def _formula(statement: Statement) -> Table:
    formula = statement.formula
    table = _table("\nM × C against H + E, for the calls served locally")
    price = UNKNOWN if formula.c_usd_per_million is None else f"{usd(formula.c_usd_per_million)} per million"
    table.add_row("M × C", *_known(formula.m_times_c, f"{tokens(formula.m_tokens)} tokens × {price}"))
    monthly = statement.local.fixed_monthly
    per_month = "" if monthly is None else f"fixed cost with idle power: {usd(monthly)} per 730 h"
    table.add_row("H  amortisation and care", usd(formula.h), per_month)
    table.add_row("E  electricity", *(("unknown", "") if formula.e is None else _known(formula.e, "idle and marginal")))
    if formula.h is not None and formula.e is not None:
        table.add_row("H + E", usd(formula.h + formula.e.known), "for the covered time")
    return table


def _amount(total: Sum) -> str:
    if not total.unknown_attempts:
        return usd(total.known)
    return UNKNOWN if total.known == Decimal(0) else f"≥ {usd(total.known)}"


def _known(total: Sum, note: str = "") -> tuple[str, str]:
    missing = f"at least; {total.unknown_attempts:,} unknown" if total.unknown_attempts else ""
    return _amount(total), "; ".join(text for text in (note, missing) if text)
