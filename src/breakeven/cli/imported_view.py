"""How a statement shows imported usage."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.table import Table

from breakeven.cli.console import out
from breakeven.units import UNKNOWN, tokens, usd

CENT = Decimal("0.01")

if TYPE_CHECKING:
    from breakeven.ledger.imported import Amount, ImportedUsage, Usage


def show_imported(month: str, imported: Sequence[ImportedUsage], *, detailed: bool) -> None:
    """A row for each source; with ``detailed`` its models and where its figures came from."""
    if not imported:
        return
    out.print(f"[bold]Imported usage in {month}[/] (UTC)")
    out.print("Sources may tell of the same calls, so nothing is added up across them.\n", style="dim")
    table = _table("source")
    for source in imported:
        name = source.origin.partition(":")[2]
        _row(table, f"{name} {source.first_day:%d}–{source.last_day:%d}", source.usage)
    out.print(table)
    for source in imported:
        if detailed:
            models = _table(source.origin)
            for row in source.models:
                _row(models, f"{row.provider} / {row.model or 'all models'}", row.usage)
            out.print()
            out.print(models)
        _say(source, detailed=detailed)


def _say(source: ImportedUsage, *, detailed: bool) -> None:
    from breakeven.ledger.importers.price import SUBSCRIPTION

    usage, name = source.usage, source.origin.partition(":")[2]
    lines = []
    if usage.cache_unknown:
        lines.append(f"{name}: what part of the input was cached is unknown in places, so money is a range.")
    if usage.tokens_unknown:
        lines.append(f"{name}: of {usage.tokens_unknown:,} calls nobody counted the tokens.")
    if detailed:
        lines += [
            f"{note.figure.replace('_', ' ')}: {note.text}" + (f" ({note.attempts:,})" if note.attempts else "")
            for note in source.notes
        ]
    else:
        paid = [note for note in source.notes if note.text.endswith(SUBSCRIPTION.source)]
        lines += [f"{name}: paid for by {SUBSCRIPTION.source}; the counterfactual is the API's price."] if paid else []
    for line in dict.fromkeys(lines):
        out.print(line, style="dim", soft_wrap=True, highlight=False, markup=False)


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in ("calls", "input", "cached", "output", "billed", "counterfactual"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(table: Table, name: str, usage: Usage) -> None:
    counted = bool(usage.input or usage.output)
    table.add_row(
        name,
        "sums" if usage.calls is None else f"{usage.calls:,}",
        tokens(usage.input) if counted else "",
        f"{usage.cache_read / usage.input:.0%}" if usage.input else "",
        tokens(usage.output) if counted else "",
        _amount(usage.billed),
        _amount(usage.counterfactual) if counted else "",
    )


def _amount(amount: Amount) -> str:
    if amount.most is None:
        return UNKNOWN if amount.least == Decimal(0) else f"≥ {_dollars(amount.least)}"
    least, most = _dollars(amount.least), _dollars(amount.most)
    return least if least == most else f"{least}–{most}"


def _dollars(value: Decimal) -> str:
    return "<$0.01" if 0 < value < CENT else usd(value)
