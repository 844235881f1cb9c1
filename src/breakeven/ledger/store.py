"""Calls in the database, and the daily totals that are kept in step with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Engine

from breakeven.config.settings import LedgerSettings
from breakeven.errors import LedgerError
from breakeven.ledger import database
from breakeven.ledger.buckets import add_reports, latest_reports, read_buckets
from breakeven.ledger.bulk import BulkInsert, Upserts
from breakeven.ledger.faults import reporting_content, reporting_outages
from breakeven.ledger.paging import READ_PAGE, pages
from breakeven.ledger.records import IMPORTED, Call, UsageBucket, microseconds
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, Rollup
from breakeven.ledger.rows import (
    attempt_row,
    call_from_rows,
    call_row,
    daily_total_from_row,
    provenance_counts_from_rows,
)
from breakeven.ledger.schema import (
    TOKEN_CLASSES,
    TOTAL_KEY,
    attempts,
    calls,
    daily_provenance,
    daily_totals,
    usage_buckets,
)
from breakeven.units import Tokens

if TYPE_CHECKING:
    from breakeven.ledger.usage import UsagePart


class Merged(NamedTuple):
    """What a merge changed: calls that were new, and calls of which it brought a later state."""

    new: list[Call]
    grown: list[Call]


class Store:
    """The ledger's database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._upserts = Upserts(engine.dialect.name)
        self._add_calls = BulkInsert(calls, engine.dialect)
        self._add_attempts = BulkInsert(attempts, engine.dialect)
        self._add_buckets = BulkInsert(usage_buckets, engine.dialect)

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
        with reporting_outages():
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
        with reporting_content():
            rows = {call.id: (call, call_row(call)) for call in reversed(batch)}
        with reporting_outages(), reporting_content(), self._writing() as connection:
            new = self._insert_calls(connection, [rows[name][1] for name in sorted(rows)])
            fresh = [rows[name][0] for name in sorted(new)]
            self._insert_rest(connection, fresh)
        return len(fresh)

    def merge(self, batch: Iterable[Call], complete: Callable[[Call], Call] = lambda call: call) -> Merged:
        """Add calls of which a log may hold several states, the earlier ones partial, in one transaction. Of each call
        the state with the most output counts, whichever comes first; a state that is known already changes nothing.

        Args:
            batch: the calls, in any order.
            complete: does what remains to be done to a call, such as pricing it, once it is sure to be written. It
                must leave the call's own fields, and its tokens, as they are.

        Raises:
            LedgerUnavailable: the database is down or locked; nothing was written.
            RecordRejected: the database refuses a call for its content; nothing was written.
        """
        found: dict[str, Call] = {}
        for call in batch:
            if call.id not in found or call.extent > found[call.id].extent:
                found[call.id] = call
        if not found:
            return Merged([], [])
        with reporting_content():
            rows = [call_row(found[name]) for name in sorted(found)]
        with reporting_outages(), reporting_content(), self._writing() as connection:
            new = self._insert_calls(connection, rows)
            known = [name for name in found if name not in new]
            grown = [name for name, extent in self._extents(connection, known) if found[name].extent > extent]
            if grown:
                self._take_out(connection, grown)
                self._insert_calls(connection, [call_row(found[name]) for name in sorted(grown)])
            merged = Merged(*([complete(found[name]) for name in sorted(names)] for names in (new, grown)))
            self._insert_rest(connection, [*merged.new, *merged.grown])
        return merged

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these calls the ledger holds; errors as ``daily``."""
        with reporting_outages(), self._engine.connect() as connection:
            return self._known(connection, calls, ids)

    def known_buckets(self, ids: Sequence[str]) -> set[str]:
        """Which of these buckets the ledger holds; errors as ``daily``."""
        with reporting_outages(), self._engine.connect() as connection:
            return self._known(connection, usage_buckets, ids)

    def forget(self, origin: str) -> int:
        """Remove all calls, buckets and totals of an origin; returns how many calls and buckets there were.

        Raises:
            LedgerUnavailable: the database is down or locked; nothing was removed.
        """
        with reporting_outages(), self._writing() as connection:
            removed = 0
            for table in (calls, usage_buckets, daily_totals, daily_provenance):
                found = connection.execute(sa.delete(table).where(table.c.origin == origin)).rowcount
                removed += found if table in (calls, usage_buckets) else 0
        return removed

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
            with reporting_outages(), self._engine.connect() as connection:
                found = connection.execute(page.where(beyond)).mappings().all()
                tries = self._attempts_of(connection, [row["id"] for row in found])
            for row in found:
                yield call_from_rows(dict(row), tries.get(row["id"], ()))
            if len(found) < READ_PAGE:
                return
            after = (found[-1]["received_at"], found[-1]["id"])

    def longest_prompts(self, since: float, until: float, *, provider: str) -> dict[str, Tokens]:
        """The most tokens of a prompt with its answer, by agent, that a provider completed for calls received in
        ``since <= t < until`` (Unix seconds); calls without an agent are left out.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        counts = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
        tokens = sum((sa.func.coalesce(attempts.c[name], 0) for name in counts), sa.literal(0))
        query = sa.select(calls.c.agent, sa.func.max(tokens)).join(attempts, attempts.c.call_id == calls.c.id)
        query = query.where(calls.c.received_at >= since, calls.c.received_at < until, calls.c.agent.is_not(None))
        query = query.where(attempts.c.provider == provider, attempts.c.outcome == "completed")
        with reporting_outages(), self._engine.connect() as connection:
            return {agent: int(most) for agent, most in connection.execute(query.group_by(calls.c.agent))}

    def active_times(self, since: float, until: float, *, model: str) -> list[float]:
        """The ten-minute stretches of ``since <= t < until`` (Unix seconds) in which a model was asked on a machine of
        one's own, by their beginnings, in order.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        moment: sa.ColumnElement[str] = sa.type_coerce(calls.c.received_at, sa.Text)
        if self._engine.dialect.name == "postgresql":
            in_utc = sa.func.timezone("UTC", sa.type_coerce(calls.c.received_at, sa.DateTime(timezone=True)))
            moment = sa.func.to_char(in_utc, 'YYYY-MM-DD"T"HH24:MI')
        stretch = sa.func.substr(moment, 1, len("2026-11-01T00:0"))
        query = sa.select(stretch).distinct().join(attempts, attempts.c.call_id == calls.c.id)
        query = query.where(calls.c.received_at >= since, calls.c.received_at < until)
        query = query.where(attempts.c.locality == "local", attempts.c.model_asked == model)
        with reporting_outages(), self._engine.connect() as connection:
            found = connection.execute(query).scalars().all()
        return sorted(datetime.fromisoformat(f"{one}0:00+00:00").timestamp() for one in found)

    def insert_buckets(self, batch: Iterable[UsageBucket]) -> int:
        """Add buckets in one transaction. One that is known already changes nothing, unless this report of it holds
        more and so is the later one: then it takes the other's place. A bucket that tells of the same time as another
        of its origin in other terms is refused: the same usage would count twice.

        Returns:
            How many were new or took the place of an earlier report.

        Raises:
            LedgerUnavailable: the database is down or locked; nothing was written.
            RecordRejected: the database refuses a bucket for its content; nothing was written.
        """
        reports = latest_reports(batch)
        with reporting_outages(), reporting_content(), self._writing() as connection:
            return add_reports(connection, reports, self._add_buckets)

    def usage(self, since: float, until: float, *, origin: str | None = None) -> Iterator[UsagePart]:
        """Who served the calls received in ``since <= t < until`` (Unix seconds), their tokens and bills, by column.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        from breakeven.ledger.usage import read_usage  # noqa: PLC0415 - numpy, which nothing else here needs

        with reporting_outages(), self._engine.connect() as connection:
            yield from read_usage(connection, since, until, origin=origin)

    def buckets(self, since: float, until: float, *, origin: str | None = None) -> Iterator[UsageBucket]:
        """Buckets that start in ``since <= t < until`` (Unix seconds), oldest first, read page by page.

        Raises:
            LedgerUnavailable: the database is down or locked.
        """
        return read_buckets(self._engine, since, until, origin=origin)

    def daily(
        self, since: date, until: date, *, origin: str | None = None, imported: bool | None = None
    ) -> tuple[list[DailyTotal], list[ProvenanceCount]]:
        """The totals of the days ``since <= day < until`` (UTC) and where their figures came from.

        Args:
            since: first day.
            until: the day after the last.
            origin: only of this origin.
            imported: only imported calls, or only others; by default both.

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
        if imported is not None:
            totals = totals.where(daily_totals.c.origin.startswith(IMPORTED) == imported)
            provenance = provenance.where(daily_provenance.c.origin.startswith(IMPORTED) == imported)
        with reporting_outages(), self._engine.connect() as connection:
            total_rows = connection.execute(totals).mappings().all()
            provenance_rows = connection.execute(provenance).mappings().all()
        return [daily_total_from_row(row) for row in total_rows], provenance_counts_from_rows(provenance_rows)

    def days(self) -> tuple[date, date] | None:
        """The first and the last day (UTC) with a call, or ``None`` in an empty ledger; errors as ``daily``."""
        with reporting_outages(), self._engine.connect() as connection:
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
        known = self._known(connection, calls, [row["id"] for row in rows])
        new = [row for row in rows if row["id"] not in known]
        if new:
            self._add_calls.execute(connection, new)
        return {row["id"] for row in new}

    def _known(self, connection: Connection, table: sa.Table, ids: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for page in pages(ids):
            known.update(connection.execute(sa.select(table.c.id).where(table.c.id.in_(page))).scalars())
        return known

    def _extents(self, connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """As ``Call.extent``, of calls in the database."""
        total = sum(sa.func.coalesce(attempts.c[name], 0) for name in TOKEN_CLASSES[:-1])
        query = (
            sa.select(
                calls.c.id,
                sa.func.coalesce(sa.func.sum(attempts.c.output), -1),
                sa.func.coalesce(sa.func.sum(total), 0),
                calls.c.received_at,
            )
            .outerjoin(attempts, attempts.c.call_id == calls.c.id)
            .group_by(calls.c.id, calls.c.received_at)
        )
        for page in pages(ids):
            for name, output, tokens, at in connection.execute(query.where(calls.c.id.in_(page))):
                yield name, (int(output), int(tokens), -microseconds(at))

    def _take_out(self, connection: Connection, ids: Sequence[str]) -> None:
        """Remove calls and what they added to the totals. The totals keep the times of their first and last call."""
        old: list[Call] = []
        for page in pages(ids):
            tries = self._attempts_of(connection, page)
            rows = connection.execute(sa.select(calls).where(calls.c.id.in_(page))).mappings()
            old += [call_from_rows(dict(row), tries.get(row["id"], ())) for row in rows]
            connection.execute(sa.delete(calls).where(calls.c.id.in_(page)))
        rollup = Rollup(old)
        connection.execute(self._upserts.totals, rollup.total_rows(sign=-1))
        connection.execute(sa.delete(daily_totals).where(daily_totals.c.attempts == 0, daily_totals.c.calls == 0))
        if provenance := rollup.provenance_rows(sign=-1):
            connection.execute(self._upserts.provenance, provenance)
            connection.execute(sa.delete(daily_provenance).where(daily_provenance.c.attempts == 0))

    def _insert_rest(self, connection: Connection, fresh: list[Call]) -> None:
        tries = [attempt_row(call.id, attempt) for call in fresh for attempt in call.attempts]
        if tries:
            self._add_attempts.execute(connection, tries)
        rollup = Rollup(fresh)
        if totals := rollup.total_rows():
            connection.execute(self._upserts.totals, totals)
        if provenance := rollup.provenance_rows():
            connection.execute(self._upserts.provenance, provenance)
