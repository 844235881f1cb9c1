"""Transactions that write, and what a silent database means to callers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from breakeven.errors import LedgerUnavailable


@contextmanager
def reporting_outages() -> Iterator[None]:
    """Turn the errors of a database that is down or locked into ``LedgerUnavailable``: worth another try."""
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause).partition("\n")[0]
        raise LedgerUnavailable(
            f"the database of keys and budgets does not answer: {reason}",
            remedy="Bring back the database; calls resume by themselves.",
        ) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that takes SQLite's write lock at once, as ``database.connect`` asks for."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection
