"""``breakeven plan --from-ledger`` and ``--from``: the plan on what was really used."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from breakeven.cli import books
from breakeven.cli.console import home_of, load_settings, out, print_json
from breakeven.errors import InputError

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.ledger.store import Store
    from breakeven.planning.scenario import Scenario
    from breakeven.planning.sources import Document
    from breakeven.planning.trace_plan import TracePlan
    from breakeven.planning.volume import Volume

EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


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
        volume = None if store is None else _ledger_volume(store, when, origin)
    if volume is None:
        raise InputError(
            "the ledger has no calls to plan on" + ("" if when is None else f" from {when[0]:%Y-%m-%d}"),
            remedy="Point a client at breakeven serve, or bring usage in with breakeven import.",
        )
    _show(volume, settings, document, plot, as_json=as_json)


def _ledger_volume(store: Store, when: tuple[datetime, datetime] | None, origin: str | None) -> Volume | None:
    from breakeven.planning.volume import volume_of

    since, until = (moment.timestamp() for moment in when or EVER)
    name = "the ledger" if origin is None else f"the ledger, {origin}"
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
