"""Connecting to the ledger's database, SQLite or PostgreSQL, and bringing its schema up to date."""

from __future__ import annotations

import sqlite3
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from breakeven.config.settings import LedgerSettings
from breakeven.errors import ConfigError, LedgerError
from breakeven.ledger import revisions
from breakeven.ledger.rollup import exact

HEAD = "0004"
"""The revision that this version of breakeven reads and writes."""

FILE_NAME = "ledger.sqlite3"
BUSY_SECONDS = 5.0
SWITCH_POLL_SECONDS = 0.01
MIGRATION_LOCK = 0x6272656B  # PostgreSQL advisory lock; any number that nobody else uses


def connect(settings: LedgerSettings, home: Path, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine for the configured database; nothing is opened yet.

    On SQLite transactions that write must be started with the execution option ``writes=True``: they take the
    write lock at once, so that two of them queue up instead of failing half-way.

    Raises:
        ConfigError: ``ledger.url`` is not a URL of a database that the ledger can be kept in.
    """
    allowed = "a URL like sqlite:///ledger.sqlite3 or postgresql+psycopg://user@host/name"
    try:
        url = sa.make_url(settings.url) if settings.url else sa.URL.create("sqlite", database=str(home / FILE_NAME))
    except ArgumentError as error:  # what cannot be parsed may still hold a password: show none of it
        raise ConfigError("ledger.url", "…", allowed) from error
    shown = url.render_as_string(hide_password=True)
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, busy_seconds, full_sync=settings.sync)
        if url.get_backend_name() != "postgresql":
            raise ConfigError("ledger.url", shown, allowed)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": max(2, int(busy_seconds))})
    except NoSuchModuleError as error:
        raise ConfigError("ledger.url", shown, allowed) from error
    except ImportError as error:
        remedy = "Install it with: pip install 'breakeven[postgres]'"
        raise LedgerError(f"the driver for {shown} is missing ({error})", remedy=remedy) from error


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; several processes may do so at once.

    Raises:
        LedgerError: the database was written by a newer version.
        sqlalchemy.exc.DBAPIError: the database cannot be reached or is locked.
    """
    with engine.connect() as connection:
        if revisions.current(connection) == HEAD:
            return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        try:
            revisions.upgrade(connection, Path(__file__).parent / "migrations")
        except LookupError as error:
            raise LedgerError(
                f"the ledger's database has a schema that this version does not know ({error})",
                remedy="Use the version of breakeven that wrote it, or a newer one.",
            ) from error


def _sqlite(url: sa.URL, busy_seconds: float, *, full_sync: bool) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": busy_seconds})
    synchronous = "FULL" if full_sync else "NORMAL"

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        _write_ahead(connection, busy_seconds)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function("exact_sum", 2, _exact_sum, deterministic=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: Any, busy_seconds: float) -> None:
    """Switch to the write-ahead log. A new file takes the switch from one connection at a time, and SQLite does not
    wait there for the others as it does elsewhere."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(SWITCH_POLL_SECONDS)
        else:
            return


def _exact_sum(augend: str, addend: str) -> str:
    return format(exact.add(Decimal(augend), Decimal(addend)), "f")
