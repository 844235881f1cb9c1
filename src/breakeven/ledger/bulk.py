"""Statements that write many rows at once, the same for both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect

from breakeven.ledger.schema import COUNTS, EXACT_SUMS, PROVENANCE_KEY, TOTAL_KEY, daily_provenance, daily_totals


class BulkInsert:
    """An INSERT of many rows, converted column by column: row by row, the conversion costs more than the insert."""

    def __init__(self, table: sa.Table, dialect: Dialect) -> None:
        compiled = table.insert().compile(dialect=dialect)
        self._sql = str(compiled)
        self._positional = compiled.positional
        self._columns = [
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in table.columns
        ]

    def execute(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        """Insert the rows, of which there is at least one."""
        columns = [_converted([row[name] for row in rows], convert) for name, convert in self._columns]
        values = list(zip(*columns, strict=True))
        if self._positional:
            connection.exec_driver_sql(self._sql, values)
        else:
            names = [name for name, _ in self._columns]
            connection.exec_driver_sql(self._sql, [dict(zip(names, value, strict=True)) for value in values])


def _converted(values: list[Any], convert: Callable[[Any], Any] | None) -> list[Any]:
    if convert is None or values.count(None) == len(values):
        return values
    return [convert(value) for value in values]


class Upserts:
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
