"""What a database complains of, told as the ledger's own errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from breakeven.errors import LedgerUnavailable, RecordRejected

PROGRAM_LIMIT = "54"  # class of PostgreSQL's codes for a value that is too long for an index or a row


@contextmanager
def reporting_outages() -> Iterator[None]:
    """A database that does not answer is worth another try."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise LedgerUnavailable(f"the ledger's database does not answer: {_first_line(cause)}") from error


@contextmanager
def reporting_content() -> Iterator[None]:
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
