"""Whether the books are whole: the file's own check, and calls against the totals that were kept of them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from breakeven.config.settings import LedgerSettings
from breakeven.errors import LedgerUnavailable
from breakeven.ledger import database
from breakeven.ledger.schema import attempts, calls, daily_totals

BUSY_SECONDS = 2.0


def problems(settings: LedgerSettings, home: Path) -> tuple[str, ...]:
    """What is wrong with the database, a clause each; nothing is changed.

    Raises:
        LedgerUnavailable: it cannot be read.
        LedgerError: its driver is missing.
        ConfigError: ``ledger.url`` is wrong.
    """
    engine = database.connect(settings, home, busy_seconds=BUSY_SECONDS)
    try:
        with engine.connect() as connection:
            return tuple(_problems(connection))
    except sa.exc.DBAPIError as error:
        first = str(error.orig).splitlines()[0] if error.orig is not None else "it does not answer"
        raise LedgerUnavailable(f"the ledger cannot be read: {first}", remedy="See docs/ledger.md.") from error
    finally:
        engine.dispose()


def _problems(connection: sa.Connection) -> list[str]:
    found = []
    if connection.dialect.name == "sqlite":
        said = [row[0] for row in connection.execute(sa.text("PRAGMA quick_check(3)"))]
        if said != ["ok"]:
            return [f"the file is damaged: {'; '.join(said)}"]
        orphans = connection.execute(sa.text("PRAGMA foreign_key_check")).all()
        found += [f"{len(orphans):,} attempts belong to no call"] if orphans else []
    for name, kept, table in (("calls", daily_totals.c.calls, calls), ("attempts", daily_totals.c.attempts, attempts)):
        counted = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        totalled = int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(kept), 0))).scalar_one())
        if counted != totalled:
            found.append(f"{counted:,} {name} are kept and {totalled:,} were added up")
    return found
