"""Calls in the database, and the daily totals that are kept in step with them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from breakeven.config.settings import LedgerSettings
from breakeven.errors import LedgerError, LedgerUnavailable, RecordRejected
from breakeven.ledger import database
from breakeven.ledger.records import Call, UsageBucket
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, Rollup
from breakeven.ledger.rows import attempt_row, bucket_from_row, bucket_row, call_from_rows, call_row
from breakeven.ledger.schema import (
    COUNTS,
    EXACT_SUMS,
    PROVENANCE_KEY,
    TOTAL_KEY,
    attempts,
    calls,
    daily_provenance,
    daily_totals,
    usage_buckets,
)
from breakeven.ledger.usage import UsagePart, read_usage

PROGRAM_LIMIT = "54"  # class of PostgreSQL's codes for a value that is too long for an index or a row
LOOKUP_PAGE = 500
READ_PAGE = 1000


class Store:
    """The ledger's database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._upserts = _Upserts(engine.dialect.name)
        self._add_calls = _BulkInsert(calls, engine.dialect)
        self._add_attempts = _BulkInsert(attempts, engine.dialect)
        self._add_buckets = _BulkInsert(usage_buckets, engine.dialect)

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
        except LedgerError:
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

    def insert_buckets(self, batch: Iterable[UsageBucket]) -> int:
        """Add buckets in one transaction. One that is known already changes nothing, unless this report of it holds
        more and so is the later one: then it takes the other's place.

        Returns:
            How many were new or took the place of an earlier report.

        Raises:
            LedgerUnavailable: the database is down or locked; nothing was written.
            RecordRejected: the database refuses a bucket for its content; nothing was written.
        """
        largest: dict[str, UsageBucket] = {}
        for bucket in batch:
            name = bucket.id
            if name not in largest or bucket.extent > largest[name].extent:
                largest[name] = bucket
        with _reporting_outages(), _reporting_content(), self._writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE usage_buckets IN SHARE ROW EXCLUSIVE MODE"))
            for names in _pages(sorted(largest)):
                for known in self._buckets_of(connection, names):
                    if largest[known.id].extent <= known.extent:
                        del largest[known.id]
                    else:
                        connection.execute(sa.delete(usage_buckets).where(usage_buckets.c.id == known.id))
            if largest:
                self._add_buckets.execute(connection, [bucket_row(bucket) for bucket in largest.values()])
        return len(largest)

    def usage(self, since: float, until: float, *, origin: str | None = None) -> Iterator[UsagePart]:
        """Who served the calls received in ``since <= t < until`` (Unix seconds), their tokens and bills, by column.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        with _reporting_outages(), self._engine.connect() as connection:
            yield from read_usage(connection, since, until, origin=origin)

    def buckets(self, since: float, until: float, *, origin: str | None = None) -> Iterator[UsageBucket]:
        """Buckets that start in ``since <= t < until`` (Unix seconds), oldest first, read page by page.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        order = (usage_buckets.c.start_at, usage_buckets.c.id)
        page = sa.select(usage_buckets).where(usage_buckets.c.start_at < until).order_by(*order).limit(READ_PAGE)
        if origin is not None:
            page = page.where(usage_buckets.c.origin == origin)
        after: tuple[float, str] | None = None
        while True:
            beyond = sa.tuple_(*order) > after if after else usage_buckets.c.start_at >= since
            with _reporting_outages(), self._engine.connect() as connection:
                found = connection.execute(page.where(beyond)).mappings().all()
            yield from (bucket_from_row(dict(row)) for row in found)
            if len(found) < READ_PAGE:
                return
            after = (found[-1]["start_at"], found[-1]["id"])

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

    def _buckets_of(self, connection: Connection, ids: Sequence[str]) -> list[UsageBucket]:
        query = sa.select(usage_buckets).where(usage_buckets.c.id.in_(ids))
        return [bucket_from_row(dict(row)) for row in connection.execute(query).mappings()]

    def _insert_calls(self, connection: Connection, rows: list[dict[str, Any]]) -> set[str]:
        """Insert the rows whose id is unknown and return those ids."""
        if connection.dialect.name == "postgresql":
            insert = postgresql.insert(calls).on_conflict_do_nothing().returning(calls.c.id)
            return set(connection.execute(insert, rows).scalars())
        # SQLite has one writer, and we are it until the transaction ends: looking first is safe, and faster.
        known: set[str] = set()
        for ids in _pages([row["id"] for row in rows]):
            known.update(connection.execute(sa.select(calls.c.id).where(calls.c.id.in_(ids))).scalars())
        new = [row for row in rows if row["id"] not in known]
        if new:
            self._add_calls.execute(connection, new)
        return {row["id"] for row in new}

    def _insert_rest(self, connection: Connection, fresh: list[Call]) -> None:
        tries = [attempt_row(call.id, attempt) for call in fresh for attempt in call.attempts]
        if tries:
            self._add_attempts.execute(connection, tries)
        rollup = Rollup(fresh)
        if totals := rollup.total_rows():
            connection.execute(self._upserts.totals, totals)
        if provenance := rollup.provenance_rows():
            connection.execute(self._upserts.provenance, provenance)


class _BulkInsert:
    """An INSERT of many rows, converted column by column: row by row, the conversion costs more than the insert."""

    def __init__(self, table: sa.Table, dialect: Dialect) -> None:
        compiled = table.insert().compile(dialect=dialect)
        self._sql = str(compiled)
        self._positional = compiled.positional
        self._columns = [
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in table.columns
        ]

    def execute(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        columns = [
            [row[name] for row in rows] if convert is None else [convert(row[name]) for row in rows]
            for name, convert in self._columns
        ]
        values = list(zip(*columns, strict=True))
        if self._positional:
            connection.exec_driver_sql(self._sql, values)
        else:
            names = [name for name, _ in self._columns]
            connection.exec_driver_sql(self._sql, [dict(zip(names, value, strict=True)) for value in values])


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


def _pages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + LOOKUP_PAGE] for start in range(0, len(names), LOOKUP_PAGE))


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
