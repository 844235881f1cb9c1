"""Where items come from. A source is looked at when its agent wakes; what it shows becomes items in the queue, where a
key that is known already changes nothing. So any number of looks, by any number of workers, makes each item once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import JSONDecodeError, PyreqwestError
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from breakeven.agents import templates
from breakeven.agents.database import storable
from breakeven.agents.definition import FolderSource, HttpSource, Source, TableSource
from breakeven.agents.queue import New
from breakeven.config.secrets import read_secret
from breakeven.errors import AgentError

MOST_ITEMS = 10_000
"""Most items that one look brings in; the next look goes on."""


def look(source: Source | None, cursor: str | None, database: Engine) -> tuple[list[New], str | None]:
    """What a source shows now, and where the next look goes on.

    Raises:
        AgentError: it cannot be looked at; the agent's run fails, and the next one tries again.
    """
    if isinstance(source, TableSource):
        return _rows(source, cursor, database)
    if isinstance(source, FolderSource):
        return list(_files(source)), None
    if isinstance(source, HttpSource):
        return _elements(source), None
    return [], None


def _rows(source: TableSource, cursor: str | None, database: Engine) -> tuple[list[New], str | None]:
    start: int | str = source.cursor_start
    if cursor is not None:
        start = int(cursor) if isinstance(source.cursor_start, int) else cursor
    query = sa.text(source.query)
    parameters = {"cursor": start} if ":cursor" in source.query else {}
    engine = database if source.url is None else sa.create_engine(source.url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query, parameters).mappings().fetchmany(MOST_ITEMS)
    except SQLAlchemyError as error:
        raise AgentError(f"source.query fails: {error.__cause__ or error}") from error
    finally:
        if engine is not database:
            engine.dispose()
    if not rows:
        return [], cursor
    if source.key not in rows[0]:
        raise AgentError(
            f"source.key = {source.key!r}: the query has no such column", remedy=f"It has {', '.join(rows[0].keys())}."
        )
    keys = [row[source.key] for row in rows]
    return [New({k: _json(v) for k, v in row.items()}, str(row[source.key])) for row in rows], str(max(keys))


def _files(source: FolderSource) -> Iterator[New]:
    if not source.path.is_dir():
        raise AgentError(f"source.path = {str(source.path)!r} is no folder", remedy="Create it.")
    for path in sorted(source.path.glob(source.pattern))[:MOST_ITEMS]:
        if not path.is_file() or path.name.startswith("."):
            continue
        raw = path.read_bytes()
        if len(raw) > source.most_bytes:
            raise AgentError(f"{path} has {len(raw):,} bytes; source.most_bytes = {source.most_bytes:,}")
        digest = hashlib.sha256(raw).hexdigest()[:16]
        name = storable(path.name)
        payload = {"path": storable(str(path)), "name": name, "text": raw.decode("utf-8", "replace")}
        yield New(payload, f"{name}:{digest}")


def _elements(source: HttpSource) -> list[New]:
    headers = {} if source.token is None else {"authorization": f"Bearer {read_secret('source.token', source.token)}"}
    try:
        with SyncClientBuilder().timeout(timedelta(seconds=30)).no_proxy().build() as client:
            response = client.get(source.url).headers(headers).build().send()
            status, document = response.status, response.json()
    except JSONDecodeError as error:
        raise AgentError(f"{source.url} answered no JSON") from error
    except PyreqwestError as error:
        raise AgentError(f"{source.url} does not answer: {error}") from error
    if status != HTTPStatus.OK:
        raise AgentError(f"{source.url} answered {status}")
    try:
        elements = templates.look_up(source.at, document) if source.at else document
        return [New(element, str(element[source.key])) for element in elements[:MOST_ITEMS]]
    except (KeyError, TypeError) as error:
        raise AgentError(f"{source.url}: no list at source.at = {source.at!r}, or no {source.key!r} in it") from error


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
