"""The agents' tables from one version to the next: no queue is lost, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine
from tests.agents.conftest import Desk, Oracle

import breakeven.agents.migrations
from breakeven.agents import database, runs
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.config import LedgerSettings
from breakeven.errors import AgentError
from breakeven.ledger import database as ledger_database
from breakeven.ledger import revisions

MIGRATIONS = Path(breakeven.agents.migrations.__file__).parent
UNVERSIONED = (
    """CREATE TABLE agents_items (id {identity}, agent TEXT NOT NULL, "key" TEXT NOT NULL, payload TEXT,
    origin TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL, attempt INTEGER NOT NULL, from_step INTEGER,
    continues BOOLEAN NOT NULL, takeovers INTEGER NOT NULL, run TEXT, worker TEXT,
    enqueued_at {double} NOT NULL, not_before {double} NOT NULL, started_at {double},
    finished_at {double}, step TEXT, error TEXT, PRIMARY KEY (id), UNIQUE (agent, "key"))""",
    "CREATE INDEX agents_items_by_state ON agents_items (agent, state, priority, id)",
    "CREATE INDEX agents_items_by_run ON agents_items (run, state)",
    """CREATE TABLE agents_runs (id TEXT NOT NULL, agent TEXT NOT NULL, "trigger" TEXT NOT NULL,
    scheduled_for {double} NOT NULL, due_at {double} NOT NULL, state TEXT NOT NULL, worker TEXT,
    started_at {double}, finished_at {double}, taken INTEGER NOT NULL, succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL, error TEXT, PRIMARY KEY (id))""",
    "CREATE INDEX agents_runs_by_state ON agents_runs (state, agent)",
    "CREATE INDEX agents_runs_by_time ON agents_runs (scheduled_for)",
    """CREATE TABLE agents_states (agent TEXT NOT NULL, paused BOOLEAN NOT NULL, seen {double} NOT NULL,
    "cursor" TEXT, PRIMARY KEY (agent))""",
    """CREATE TABLE agents_workers (id TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    process_started {double} NOT NULL, started_at {double} NOT NULL,
    heartbeat_at {double} NOT NULL, state TEXT NOT NULL, PRIMARY KEY (id))""",
    """INSERT INTO agents_items (agent, "key", payload, origin, state, priority, attempt, continues, takeovers,
    enqueued_at, not_before) VALUES ('triage', 'old', '"ticket 1"', 'queue', 'ready', 0, 1, FALSE, 0, 1.0, 0.0)""",
    "INSERT INTO agents_states (agent, paused, seen) VALUES ('triage', FALSE, 1.0)",
)
"""The tables as they were made before they had revisions, with an item that waits."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    engine = database.connect(url, tmp_path)
    yield engine
    engine.dispose()


def test_a_queue_from_before_there_were_revisions_is_worked_off(engine: Engine) -> None:
    postgres = engine.dialect.name == "postgresql"
    identity, double = ("BIGSERIAL NOT NULL", "DOUBLE PRECISION") if postgres else ("INTEGER NOT NULL", "DOUBLE")
    with engine.begin() as connection:
        for statement in UNVERSIONED:
            connection.exec_driver_sql(statement.replace("{identity}", identity).replace("{double}", double))
    database.migrate(engine)
    with engine.connect() as connection:
        assert runs.takers(connection) == {"triage": True}, "nobody has said yet that it takes none"
    desk, app = Desk(engine, Oracle()), App()

    @app.agent("triage")
    def triage(ctx: Context, ticket: str) -> None:
        ctx.llm("label", ticket)

    desk.enqueue("triage", "ticket 2")
    desk.wake(app)
    assert desk.states("triage") == {"done": 2}
    assert sorted(str(call.messages[-1]["content"]) for call in desk.oracle.calls) == ["ticket 1", "ticket 2"]
    assert_tables_are_those_of_the_metadata(engine)


@pytest.mark.parametrize("revision", [None, "0001"])
def test_every_revision_comes_to_the_tables_of_this_version(engine: Engine, revision: str | None) -> None:
    if revision is not None:
        with engine.begin() as connection:
            revisions.upgrade(connection, MIGRATIONS, revision)
    database.migrate(engine)
    assert_tables_are_those_of_the_metadata(engine)


def assert_tables_are_those_of_the_metadata(engine: Engine) -> None:
    with engine.connect() as connection:
        assert revisions.current(connection, database.VERSION_TABLE) == database.HEAD
        ours = {"version_table": database.VERSION_TABLE, "include_name": _is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), database.metadata) == []
        for table in database.metadata.sorted_tables:
            found = {
                column["name"]: bool(column["nullable"]) for column in sa.inspect(connection).get_columns(table.name)
            }
            assert found == {column.name: bool(column.nullable) for column in table.columns}


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or str(name).startswith("agents_")


@pytest.mark.postgres
def test_the_ledger_may_be_in_the_same_database(tmp_path: Path, postgres_url: str) -> None:
    engine = database.connect(postgres_url, tmp_path)
    books = ledger_database.connect(LedgerSettings(url=postgres_url), tmp_path)
    ledger_database.migrate(books)
    books.dispose()
    database.migrate(engine)
    with engine.connect() as connection:
        assert revisions.current(connection) == ledger_database.HEAD
        assert revisions.current(connection, database.VERSION_TABLE) == database.HEAD
    engine.dispose()


def test_processes_that_start_at_once_migrate_once(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: database.migrate(engine), range(4)))
    assert_tables_are_those_of_the_metadata(engine)


def test_a_step_that_fails_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE agents_traces (in_the_way TEXT)")
    with pytest.raises(sa.exc.DBAPIError, match="agents_traces"):
        database.migrate(engine)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["agents_traces"]


def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    database.migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {database.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(AgentError, match="does not know"):
        database.migrate(engine)


def test_the_revision_that_this_version_reads_is_the_newest() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == database.HEAD
