"""The agents' own database, SQLite or PostgreSQL: items, runs, workers, beside the durable engine's tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from breakeven.errors import AgentError, ConfigError
from breakeven.ledger import revisions

FILE_NAME = "agents.sqlite3"
BUSY_MILLISECONDS = 30_000
IDLE_TRANSACTION_SECONDS = 30
"""After so long without a word in the middle of a transaction PostgreSQL gives up on a process, which may be frozen,
and lets go of the rows that it holds."""
HEAD = "0002"
"""The revision that this version of breakeven reads and writes."""
VERSION_TABLE = "agents_version"
"""Not Alembic's usual name: the ledger may be in the same database."""
MIGRATION_LOCK = 0x62726B61  # PostgreSQL advisory lock; any number that nobody else uses

metadata = sa.MetaData()
_identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")

items = sa.Table(
    "agents_items",
    metadata,
    sa.Column("id", _identity, primary_key=True, autoincrement=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("origin", sa.Text, nullable=False),  # queue | source | tick
    sa.Column("state", sa.Text, nullable=False),  # ready | assigned | working | done | dead | dropped
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("from_step", sa.Integer),
    sa.Column("continues", sa.Boolean, nullable=False),
    sa.Column("takeovers", sa.Integer, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("worker", sa.Text),
    sa.Column("enqueued_at", sa.Double, nullable=False),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("step", sa.Text),
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("agent", "key"),
    sa.Index("agents_items_by_state", "agent", "state", "priority", "id"),
    sa.Index("agents_items_by_run", "run", "state"),
)
runs = sa.Table(
    "agents_runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text, nullable=False),  # schedule | missed | now
    sa.Column("scheduled_for", sa.Double, nullable=False),
    sa.Column("due_at", sa.Double, nullable=False),  # scheduled_for and the agent's place in a spread fleet
    sa.Column("state", sa.Text, nullable=False),  # waiting | gathering | active | done | failed | skipped | cancelled
    sa.Column("worker", sa.Text),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("taken", sa.Integer, nullable=False),
    sa.Column("succeeded", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Index("agents_runs_by_state", "state", "agent"),
    sa.Index("agents_runs_by_time", "scheduled_for"),
)
states = sa.Table(
    "agents_states",
    metadata,
    sa.Column("agent", sa.Text, primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
    sa.Column("cursor", sa.Text),
    sa.Column("takes_items", sa.Boolean),  # null until a worker has said so
)
workers = sa.Table(
    "agents_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_started", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("heartbeat_at", sa.Double, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # live | draining | gone
)
traces = sa.Table(
    "agents_traces",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("traceparent", sa.Text, nullable=False),
)
"""The W3C trace context of each run under way whose span is to be written when it ends; empty without telemetry."""


def connect(url: str | None, home: Path, *, idle_seconds: int = IDLE_TRANSACTION_SECONDS) -> Engine:
    """An engine for the configured database, by default SQLite in the home folder; nothing is opened yet.

    Raises:
        ConfigError: ``agents.url`` is not a URL of a database that agents can be kept in.
    """
    allowed = "a URL like sqlite:///agents.sqlite3 or postgresql+psycopg://user@host/name"
    try:
        parsed = sa.make_url(url) if url else sa.URL.create("sqlite", database=str(home / FILE_NAME))
    except ArgumentError as error:  # what cannot be parsed may still hold a password: show none of it
        raise ConfigError("agents.url", "…", allowed) from error
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _sqlite(parsed)
    if parsed.get_backend_name() != "postgresql":
        raise ConfigError("agents.url", parsed.render_as_string(hide_password=True), allowed)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        options = f"-c idle_in_transaction_session_timeout={idle_seconds}s"
        arguments = {"options": options, "connect_timeout": 10}
        engine = sa.create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=90, connect_args=arguments)
    except (NoSuchModuleError, ImportError) as error:
        remedy = "Install it with: pip install 'breakeven[postgres]'"
        raise AgentError(f"the driver for {parsed.drivername} is missing", remedy=remedy) from error
    event.listen(engine, "handle_error", _note_unreachable)
    return engine


def _note_unreachable(context: ExceptionContext) -> None:
    """Let a connection that cannot be made count as one that was lost: the durable engine waits for a lost one to come
    back, but would end its workflows over a server that is still on its way down or up."""
    if context.connection is None and isinstance(context.sqlalchemy_exception, OperationalError):
        context.is_disconnect = True


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; several processes may do so at once, and other workers be at work meanwhile.

    Raises:
        AgentError: the database was written by a newer version.
    """
    with engine.connect() as connection:
        if revisions.current(connection, VERSION_TABLE) == HEAD:
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        else:  # the driver begins a transaction by itself only before it changes rows
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            revisions.upgrade(connection, Path(__file__).parent / "migrations")
        except LookupError as error:
            raise AgentError(
                f"the agents' database has a schema that this version does not know ({error})",
                remedy="Use the version of breakeven that wrote it, or a newer one.",
            ) from error


def heals(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later: the database was away, locked or in conflict, and not given what it
    cannot keep."""
    return not isinstance(error, DataError | IntegrityError | NotSupportedError | ProgrammingError)


def storable(text: str) -> str:
    r"""Text that every database keeps: NUL and halves of surrogate pairs are written out, as JSON would.

    >>> storable("a\0b\ud800c")
    'a\\u0000b\\ud800c'
    """
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()


def url_of(engine: Engine) -> str:
    """The engine's URL with its password: for the durable engine, never to be shown."""
    return engine.url.render_as_string(hide_password=False)


def now(connection: Connection) -> float:
    """The time that all workers agree on: the database server's, or this machine's when the database is a file."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")))


@contextmanager
def opened(url: str | None, home: Path) -> Iterator[Engine]:
    """The database for a command that reads or writes a little."""
    engine = connect(url, home)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def _sqlite(url: sa.URL) -> Engine:
    engine = sa.create_engine(url, pool_size=10, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # Writers queue up for the lock instead of failing half-way; the log lets readers pass them. A kill of the
        # process loses nothing. A power cut may lose the newest commits, results and step records alike.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine
