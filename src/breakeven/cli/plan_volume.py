"""``breakeven plan --from-ledger`` and ``--from``: the plan on what was really used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from breakeven.cli import books
from breakeven.cli.console import err, home_of, load_settings, out, print_json
from breakeven.errors import InputError

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.ledger.importers.sources import Located
    from breakeven.ledger.store import Store
    from breakeven.planning.scenario import Scenario
    from breakeven.planning.sources import Document
    from breakeven.planning.trace_plan import TracePlan
    from breakeven.planning.volume import Volume


def show_ledger(
    when: tuple[datetime, datetime] | None,
    origin: str | None,
    document: Document,
    config_file: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Plan on the calls of the ledger.

    Raises:
        InputError: there are no calls to plan on.
    """
    settings = load_settings(config_file)
    with books.opened(settings) as store:
        volume = None
        if store is not None:
            chosen = books.one_origin(store, when or books.EVER, origin)
            name = "the ledger" if chosen in {None, books.GATEWAY} else f"the ledger, {chosen}"
            volume = _volume(store, name, when, chosen)
    if volume is None:
        raise InputError(
            "the ledger has no calls to plan on" + ("" if when is None else f" from {when[0]:%Y-%m-%d}"),
            remedy="Point a client at breakeven serve, use breakeven import, or name files with --from.",
        )
    _show(volume, settings, document, plot, as_json=as_json)


def show_files(
    paths: list[Path],
    when: tuple[datetime, datetime] | None,
    origin: str | None,
    document: Document,
    config_file: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Plan on files that could be imported; nothing of them is kept.

    Raises:
        InputError: a file cannot be read, or there is no usage to plan on in them.
    """
    settings = load_settings(config_file)
    with _read(paths, settings) as (store, skipped):
        name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
        volume = _volume(store, name, when, None if origin == books.ALL else origin)
    if volume is None:
        raise InputError(f"there is no usage to plan on in {', '.join(str(path) for path in paths)}")
    volume = replace(volume, trace=replace(volume.trace, skipped=skipped[0], problems=skipped[1]))
    _show(volume, settings, document, plot, as_json=as_json)


@contextmanager
def _read(paths: list[Path], settings: Settings) -> Iterator[tuple[Store, tuple[int, tuple[str, ...]]]]:
    """The files in a ledger that is thrown away afterwards, how many lines were skipped, and the first of them."""
    from breakeven.catalog.prices import open_book
    from breakeven.cli.import_ import reading
    from breakeven.config import LedgerSettings
    from breakeven.ledger.importers.price import Pricer
    from breakeven.ledger.importers.run import Import
    from breakeven.ledger.importers.sources import select
    from breakeven.ledger.store import Store

    selection = select(paths)
    sources = sorted({file.importer.name for file in selection.files})
    if len(sources) > 1:
        err.print(f"Added up: {', '.join(sources)}. If they tell of the same calls, those count twice.")
    for file in selection.files:
        if file.importer.prepare is not None:
            err.print(f"{file.path}: {_prepared(file)}", soft_wrap=True, highlight=False, markup=False)
    pricer = Pricer(open_book(settings.prices, settings.home), (settings.reference.provider, settings.reference.model))
    with tempfile.TemporaryDirectory(prefix="breakeven-plan-") as folder:
        store = Store.open(LedgerSettings(), Path(folder))
        try:
            with reading(selection.files) as progress:
                accounts = Import(store, pricer, progress=progress).run(selection.files)
            problems = [f"{Path(p.file).name}:{p.line or '?'}: {p.what}" for each in accounts for p in each.problems]
            yield store, (sum(account.skipped for account in accounts), tuple(problems))
        finally:
            store.close()


def _prepared(file: Located) -> str:
    from breakeven.ledger.importers.found import NO_OPTIONS

    assert file.importer.prepare is not None, "the caller asked"  # noqa: S101
    try:
        return file.importer.prepare(file.path, NO_OPTIONS)
    except InputError as error:
        remedy = f"Say so to breakeven import, and plan on --from-ledger --origin {file.importer.origin}."
        raise InputError(error.message, remedy=remedy) from error


def _volume(store: Store, name: str, when: tuple[datetime, datetime] | None, origin: str | None) -> Volume | None:
    from breakeven.planning.volume import volume_of

    since, until = (moment.timestamp() for moment in when or books.EVER)
    parts, buckets = store.usage(since, until, origin=origin), store.buckets(since, until, origin=origin)
    return volume_of(name, parts, buckets, observed=_observed(store, when))


def _observed(store: Store, when: tuple[datetime, datetime] | None) -> tuple[float, float] | None:
    """The part of a period asked about during which the ledger was kept: calls may be rarer than its ends."""
    days = store.days()
    if when is None or days is None:
        return None
    start = max(when[0], books.midnight(days[0]))
    end = min(when[1], datetime.now(UTC))
    return (start.timestamp(), end.timestamp()) if start < end else None


def _show(volume: Volume, settings: Settings, document: Document, plot: Path | None, *, as_json: bool) -> None:
    from breakeven.catalog.measurements import Measurements
    from breakeven.catalog.prices import open_book
    from breakeven.planning.scenario import parse
    from breakeven.planning.sources import configured
    from breakeven.planning.trace_document import trace_document
    from breakeven.planning.trace_plan import plan_volume

    scenario: Scenario = parse(configured(settings, document))
    measured = Measurements(home_of(settings)).all()
    made = plan_volume(volume, scenario, open_book(settings.prices, settings.home), datetime.now(UTC), measured)
    if plot is not None:
        _draw(made, plot)
    if as_json:
        print_json(trace_document(made))
        return
    _print(made)
    if plot is not None:
        out.print(f"\nDrawn to [bold]{plot}[/].", highlight=False)


def _draw(made: TracePlan, plot: Path) -> None:
    from breakeven.planning.picture import draw

    if len(made.plans) != 1:
        raise InputError("a picture is of one machine", remedy="Name yours with --machine.")
    draw(made.plans[0], plot)


def _print(made: TracePlan) -> None:
    from breakeven.cli import plan_view, trace_view

    if len(made.plans) != 1:
        trace_view.show(made, out)
        out.print("[dim]Name your machine with --machine, or in the configuration, for the whole answer.[/]")
        return
    plan_view.show(made.plans[0], out, counted=lambda: trace_view.show_counted(made, out))
