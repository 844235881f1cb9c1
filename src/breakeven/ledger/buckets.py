"""Usage buckets in the database: reports of sums, of which a later one may take an earlier one's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from breakeven.errors import RecordRejected
from breakeven.ledger.bulk import BulkInsert
from breakeven.ledger.faults import reporting_outages
from breakeven.ledger.paging import READ_PAGE, pages
from breakeven.ledger.records import UsageBucket
from breakeven.ledger.rows import bucket_from_row, bucket_row
from breakeven.ledger.schema import usage_buckets
from breakeven.ledger.spans import Span, overlap


def latest_reports(batch: Iterable[UsageBucket]) -> dict[str, UsageBucket]:
    """Of each bucket the report that holds most, by id."""
    largest: dict[str, UsageBucket] = {}
    for bucket in batch:
        name = bucket.id
        if name not in largest or bucket.extent > largest[name].extent:
            largest[name] = bucket
    return largest


def add_reports(connection: Connection, reports: Mapping[str, UsageBucket], insert: BulkInsert) -> int:
    """Within a transaction, add the reports by id that are new or hold more than the one known; returns how many.

    Raises:
        RecordRejected: one tells of the same time as another of its origin in other terms.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE usage_buckets IN SHARE ROW EXCLUSIVE MODE"))
    _refuse_overlaps(connection, list(reports.values()))
    larger = dict(reports)
    for names in pages(sorted(reports)):
        for known in _buckets_of(connection, names):
            if larger[known.id].extent <= known.extent:
                del larger[known.id]
            else:
                connection.execute(sa.delete(usage_buckets).where(usage_buckets.c.id == known.id))
    if larger:
        insert.execute(connection, [bucket_row(bucket) for bucket in larger.values()])
    return len(larger)


def read_buckets(engine: Engine, since: float, until: float, *, origin: str | None) -> Iterator[UsageBucket]:
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
        with reporting_outages(), engine.connect() as connection:
            found = connection.execute(page.where(beyond)).mappings().all()
        yield from (bucket_from_row(dict(row)) for row in found)
        if len(found) < READ_PAGE:
            return
        after = (found[-1]["start_at"], found[-1]["id"])


def _refuse_overlaps(connection: Connection, batch: Sequence[UsageBucket]) -> None:
    spans = {Span.of(bucket) for bucket in batch}
    for origin in {span.origin for span in spans}:
        since = min(span.start for span in spans if span.origin == origin)
        until = max(span.end for span in spans if span.origin == origin)
        columns = (usage_buckets.c.start_at, usage_buckets.c.end_at, usage_buckets.c.model != "")
        query = sa.select(*columns).distinct().where(usage_buckets.c.origin == origin)
        query = query.where(usage_buckets.c.start_at < until, usage_buckets.c.end_at > since)
        spans |= {Span(origin, start, end, bool(named)) for start, end, named in connection.execute(query)}
    if (found := overlap(spans)) is not None:
        raise RecordRejected(found)


def _buckets_of(connection: Connection, ids: Sequence[str]) -> list[UsageBucket]:
    query = sa.select(usage_buckets).where(usage_buckets.c.id.in_(ids))
    return [bucket_from_row(dict(row)) for row in connection.execute(query).mappings()]
