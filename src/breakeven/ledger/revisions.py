"""Which revision of its schema a database is at, and the steps to the newest; for every room that keeps tables."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError, ProgrammingError

VERSION_TABLE = "alembic_version"
_one_at_a_time = threading.Lock()  # Alembic keeps the migration under way in a global


def current(connection: Connection, version_table: str = VERSION_TABLE) -> str | None:
    """The revision that the database is at; ``None`` for one that has no tables of this history yet."""
    try:
        found: str | None = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(version_table)))
    except (ProgrammingError, OperationalError) as error:
        if version_table not in str(error.orig):
            raise
        return None
    return found


def upgrade(connection: Connection, scripts: Path, revision: str = "head") -> None:
    """Take the steps to a revision, in the caller's transaction.

    Args:
        scripts: folder of the history: ``env.py`` and ``versions``.

    Raises:
        LookupError: the database is at a revision that is not in the history.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of its plugins as it is imported
    from alembic import command  # noqa: PLC0415  only a new or outdated database pays for the import
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        with _one_at_a_time:
            command.upgrade(config, revision)
    except CommandError as error:
        raise LookupError(str(error)) from error
