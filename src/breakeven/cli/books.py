"""The ledger as commands read it: opened, with what a running gateway has not written yet taken in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from breakeven.cli.console import err, home_of
from breakeven.errors import InputError

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.ledger.store import Store

PATIENCE_SECONDS = 1.0
"""How long to wait for a running gateway to write its newest calls, which takes it a fifth of a second."""

GATEWAY, ALL = "gateway", "all"
"""The origin of calls served here, and the word for every origin together."""
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


@contextmanager
def opened(settings: Settings) -> Iterator[Store | None]:
    """The store, or ``None`` where nothing was ever recorded.

    Raises:
        LedgerError: the books cannot be read.
    """
    from breakeven.ledger.database import FILE_NAME
    from breakeven.ledger.drain import recover
    from breakeven.ledger.ledger import JOURNAL_FOLDER
    from breakeven.ledger.store import Store

    home = home_of(settings)
    journal_folder = home / JOURNAL_FOLDER
    if settings.ledger.url is None and not (home / FILE_NAME).exists() and not journal_folder.exists():
        yield None
        return
    store = Store.open(settings.ledger, home)
    try:
        pending = recover(journal_folder, store, patience_seconds=PATIENCE_SECONDS)
        if pending:
            err.print(f"{pending:,} bytes of calls are on their way into the ledger and not counted yet.")
        yield store
    finally:
        store.close()


def one_origin(store: Store, when: tuple[datetime, datetime], origin: str | None) -> str | None:
    """The origin whose calls count; ``None`` for all of them together.

    Sources may tell of the same calls: a client's log, the gateway it called and the provider's report. So they are
    only added up when one asks for it; unasked, it is the gateway, or the one import there is.

    Raises:
        InputError: there are several imports and no calls of the gateway, and none was chosen.
    """
    if origin == ALL:
        return None
    if origin is not None:
        return origin
    totals, _ = store.daily(when[0].date(), when[1].date())
    found = {total.origin for total in totals}
    found |= {bucket.origin for bucket in store.buckets(when[0].timestamp(), when[1].timestamp())}
    if len(found) <= 1:
        return None
    others = ", ".join(sorted(found - {GATEWAY}))
    if GATEWAY in found:
        err.print(
            f"Only calls of the gateway count. Others: {others}; choose with --origin, or add up with --origin all."
        )
        return GATEWAY
    raise InputError(
        f"the ledger has usage of several sources, which may tell of the same calls: {others}",
        remedy="Choose one with --origin, or add them up with --origin all.",
    )


def period(month: str | None, since: str | None, until: str | None) -> tuple[datetime, datetime] | None:
    """Midnights (UTC) between which calls count, the second excluded; ``None`` when nothing was said.

    ``until`` names the last day that counts.

    Raises:
        InputError: a text is no month or day, both ways are used, or the end lies before the beginning.
    """
    from breakeven.ledger.statement import Month

    if month is not None:
        if since is not None or until is not None:
            raise InputError("--month and --since/--until exclude each other")
        found = Month.parse(month)
        return midnight(found.since), midnight(found.until)
    if since is None and until is None:
        return None
    first = midnight(day("--since", since)) if since else EVER[0]
    end = midnight(day("--until", until)) + timedelta(days=1) if until else EVER[1]
    if end <= first:
        raise InputError(f"--until {until!r} lies before --since {since!r}")
    return first, end


def day(option: str, text: str) -> date:
    """A day as typed.

    Raises:
        InputError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} {text!r}: expected a day, YYYY-MM-DD") from None


def midnight(of: date) -> datetime:
    """The beginning of a day in UTC."""
    return datetime(of.year, of.month, of.day, tzinfo=UTC)
