"""Calls in the database, and the daily totals that are kept in step with them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from breakeven.config.settings import LedgerSettings
from breakeven.errors import LedgerUnavailable, RecordRejected
from breakeven.ledger import database
from breakeven.ledger.records import Call
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, Rollup
from breakeven.ledger.rows import attempt_row, call_from_rows, call_row
from breakeven.ledger.schema import (
    COUNTS,
    EXACT_SUMS,
    PROVENANCE_KEY,
    TOTAL_KEY,
    attempts,
    calls,
    daily_provenance,
    daily_totals,
)

PROGRAM_LIMIT = "54"  # class of PostgreSQL's codes for a value that is too long for an index or a row
LOOKUP_PAGE = 500
READ_PAGE = 1000


class Store:
    """The ledger's database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._upserts = _Upserts(engine.dialect.name)

    @classmethod
    def connect(cls, settings: LedgerSettings, home: Path, *, busy_seconds: float = database.BUSY_SECONDS) -> Store:
        """The configured database, not opened yet; errors as ``open``, save that it need not answer."""
        return cls(database.connect(settings, home, busy_seconds=busy_seconds))

    @classmethod
    def open(cls, settings: LedgerSettings, home: Path, *, busy_seconds: float = database.BUSY_SECONDS) -> Store:
        """Connect and bring the schema up to date.

        Raises:
            LedgerUnavailable: the database is down or locked.
            LedgerError: it was written by a newer version, or its driver is missing.
            ConfigError: ``ledger.url`` is wrong.
        """
        store = cls.connect(settings, home, busy_seconds=busy_seconds)
        try:
            store.migrate()
        except LedgerUnavailable:
            store.close()
            raise
        return store

    def migrate(self) -> None:
        """Bring the schema up to date; errors as ``open``."""
        with _reporting_outages():
            database.migrate(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def insert(self, batch: Sequence[Call]) -> int:
        """Add calls and their totals in one transaction; calls whose id is known already change nothing.

        Returns:
            How many were new.

        Raises:
            LedgerUnavailable: the database is down or locked; nothing was written.
            RecordRejected: the database refuses a call for its content; nothing was written.
        """
        if not batch:
            return 0
        with _reporting_content():
            rows = {call.id: (call, call_row(call)) for call in reversed(batch)}
        with _reporting_outages(), _reporting_content(), self._writing() as connection:
            new = self._insert_calls(connection, [rows[name][1] for name in sorted(rows)])
            fresh = [rows[name][0] for name in sorted(new)]
            self._insert_rest(connection, fresh)
        return len(fresh)

    def calls(self, since: float, until: float, *, origin: str | None = None) -> Iterator[Call]:
        """Calls received in ``since <= t < until`` (Unix seconds), oldest first, read page by page.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        order = (calls.c.received_at, calls.c.id)
        page = sa.select(calls).where(calls.c.received_at < until).order_by(*order).limit(READ_PAGE)
        if origin is not None:
            page = page.where(calls.c.origin == origin)
        after: tuple[float, str] | None = None
        while True:
            beyond = sa.tuple_(*order) > after if after else calls.c.received_at >= since
            with _reporting_outages(), self._engine.connect() as connection:
                found = connection.execute(page.where(beyond)).mappings().all()
                tries = self._attempts_of(connection, [row["id"] for row in found])
            for row in found:
                yield call_from_rows(dict(row), tries.get(row["id"], ()))
            if len(found) < READ_PAGE:
                return
            after = (found[-1]["received_at"], found[-1]["id"])

    def daily(
        self, since: date, until: date, *, origin: str | None = None
    ) -> tuple[list[DailyTotal], list[ProvenanceCount]]:
        """The totals of the days ``since <= day < until`` (UTC) and where their figures came from.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        totals, provenance = sa.select(daily_totals), sa.select(daily_provenance)
        totals = totals.where(daily_totals.c.day >= since, daily_totals.c.day < until).order_by(
            *(daily_totals.c[name] for name in TOTAL_KEY)
        )
        provenance = provenance.where(daily_provenance.c.day >= since, daily_provenance.c.day < until)
        if origin is not None:
            totals = totals.where(daily_totals.c.origin == origin)
            provenance = provenance.where(daily_provenance.c.origin == origin)
        with _reporting_outages(), self._engine.connect() as connection:
            total_rows = connection.execute(totals).mappings().all()
            provenance_rows = connection.execute(provenance).mappings().all()
        return [_daily_total(row) for row in total_rows], _provenance_counts(provenance_rows)

    def days(self) -> tuple[date, date] | None:
        """The first and the last day (UTC) with a call, or ``None`` in an empty ledger; errors as ``daily``."""
        with _reporting_outages(), self._engine.connect() as connection:
            first, last = connection.execute(
                sa.select(sa.func.min(daily_totals.c.day), sa.func.max(daily_totals.c.day))
            ).one()
        return None if first is None else (first, last)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def _attempts_of(self, connection: Connection, ids: Sequence[str]) -> dict[str, list[Any]]:
        query = sa.select(attempts).where(attempts.c.call_id.in_(ids)).order_by(attempts.c.call_id, attempts.c.number)
        rows = connection.execute(query).mappings()
        return {name: list(group) for name, group in groupby(rows, key=lambda row: row["call_id"])}

    def _insert_calls(self, connection: Connection, rows: list[dict[str, Any]]) -> set[str]:
        """Insert the rows whose id is unknown and return those ids."""
        if connection.dialect.name == "postgresql":
            insert = postgresql.insert(calls).on_conflict_do_nothing().returning(calls.c.id)
            return set(connection.execute(insert, rows).scalars())
        # SQLite has one writer, and we are it until the transaction ends: looking first is safe, and faster.
        known: set[str] = set()
        for start in range(0, len(rows), LOOKUP_PAGE):
            ids = [row["id"] for row in rows[start : start + LOOKUP_PAGE]]
            known.update(connection.execute(sa.select(calls.c.id).where(calls.c.id.in_(ids))).scalars())
        new = [row for row in rows if row["id"] not in known]
        if new:
            connection.execute(calls.insert(), new)
        return {row["id"] for row in new}

    def _insert_rest(self, connection: Connection, fresh: list[Call]) -> None:
        tries = [attempt_row(call.id, attempt) for call in fresh for attempt in call.attempts]
        if tries:
            connection.execute(attempts.insert(), tries)
        rollup = Rollup(fresh)
        if totals := rollup.total_rows():
            connection.execute(self._upserts.totals, totals)
        if provenance := rollup.provenance_rows():
            connection.execute(self._upserts.provenance, provenance)


class _Upserts:
    """Statements that add to the row of a key, or make it."""

    def __init__(self, dialect: str) -> None:
        insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert

        def exact_sum(old: sa.ColumnElement[Any], new: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
            return old + new if dialect == "postgresql" else sa.func.exact_sum(old, new)

        totals = insert(daily_totals)
        old, new = daily_totals.c, totals.excluded
        changes: dict[str, Any] = {name: old[name] + new[name] for name in COUNTS}
        changes |= {name: exact_sum(old[name], new[name]) for name in EXACT_SUMS}
        changes["first_at"] = sa.case((new.first_at < old.first_at, new.first_at), else_=old.first_at)
        changes["last_at"] = sa.case((new.last_at > old.last_at, new.last_at), else_=old.last_at)
        self.totals = totals.on_conflict_do_update(index_elements=TOTAL_KEY, set_=changes)

        provenance = insert(daily_provenance)
        attempts_sum = daily_provenance.c.attempts + provenance.excluded.attempts
        self.provenance = provenance.on_conflict_do_update(
            index_elements=PROVENANCE_KEY, set_={"attempts": attempts_sum}
        )


def _daily_total(row: Mapping[Any, Any]) -> DailyTotal:
    return DailyTotal(
        **{name: row[name] for name in (*TOTAL_KEY, "first_at", "last_at")},
        counts={name: row[name] for name in COUNTS},
        sums={name: row[name] for name in EXACT_SUMS},
    )


def _provenance_counts(rows: Sequence[Mapping[Any, Any]]) -> list[ProvenanceCount]:
    names = PROVENANCE_KEY[2:]
    counted: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        counted[tuple(row[name] for name in names)] += row["attempts"]
    return [
        ProvenanceCount(figure, subject, source, effective, snapshot, count)
        for (figure, subject, source, effective, snapshot), count in sorted(counted.items())
    ]


@contextmanager
def _reporting_outages() -> Iterator[None]:
    """A database that does not answer is worth another try."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise LedgerUnavailable(f"the ledger's database does not answer: {_first_line(cause)}") from error


@contextmanager
def _reporting_content() -> Iterator[None]:
    """Content that the database will never take is not worth another try."""
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise RecordRejected(f"the database refuses a record: {_first_line(error.orig)}") from error
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", "")).startswith(PROGRAM_LIMIT):
            raise RecordRejected(f"the database refuses a record: {_first_line(error.orig)}") from error
        raise
    except (StatementError, ArithmeticError, ValueError, TypeError) as error:
        raise RecordRejected(f"a record does not fit the database: {_first_line(error)}") from error


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
