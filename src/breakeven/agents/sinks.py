"""Where results go, and how often they are written: see each sink's definition for what holds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from breakeven.agents.context import Context
from breakeven.agents.definition import FolderSink, Sink, TableSink, WebhookSink
from breakeven.config.secrets import read_secret
from breakeven.errors import ItemDeferred, ItemRejected

KEY_COLUMN = "breakeven_key"

Render: TypeAlias = Callable[[str, str], str]
"""Takes a template and where it stands, gives the text."""


def write(sink: Sink, context: Context, render: Render, answers: Mapping[str, Any]) -> None:
    """Write an item's result as its sink says.

    Args:
        answers: of the steps, for a file without a template.

    Raises:
        AgentError: it cannot be written.
    """
    if isinstance(sink, TableSink):
        columns = {name: render(template, f"sink.columns.{name}") for name, template in sink.columns.items()}
        if sink.url is None:
            context.commit(lambda session: _insert(session, sink.table, columns), name=f"write {sink.table}")
        else:
            context.step(lambda: _insert_once(sink, columns, context.call_key()), name=f"write {sink.table}")
    elif isinstance(sink, FolderSink):
        name = render(sink.name, "sink.name")
        whole = {"key": context.key, **answers}
        content = (
            render(sink.content, "sink.content") if sink.content else json.dumps(whole, ensure_ascii=False, indent=1)
        )
        context.step(lambda: _write_file(sink.path, name, content), name=f"write {sink.path}")
    else:
        body = {name: render(template, f"sink.body.{name}") for name, template in sink.body.items()}
        context.step(lambda: _post(sink, body, context.call_key()), name=f"post {sink.url}")


def _insert(session: Session, table: str, columns: dict[str, str]) -> None:
    target = sa.table(table, *(sa.column(name) for name in columns))
    session.execute(sa.insert(target).values(**columns))


def _insert_once(sink: TableSink, columns: dict[str, str], key: str) -> None:
    """Insert a row with the key of its call, in a database that does not hold the step's record."""
    assert sink.url is not None  # noqa: S101 - the caller has looked
    target = sa.table(sink.table, *(sa.column(name) for name in [*columns, KEY_COLUMN]))
    known = sa.select(sa.literal(1)).select_from(target).where(target.c[KEY_COLUMN] == key)
    engine = sa.create_engine(sink.url)
    try:
        with engine.begin() as connection:
            if connection.execute(known).first() is None:
                connection.execute(sa.insert(target).values(**columns, **{KEY_COLUMN: key}))
    except IntegrityError:
        with engine.connect() as connection:
            if connection.execute(known).first() is None:
                raise  # not because another try of the same write was first
    finally:
        engine.dispose()


def _write_file(folder: Path, name: str, content: str) -> None:
    target = (folder / name).resolve()
    if folder.resolve() not in target.parents:
        raise ItemRejected(f"sink.name: {name!r} leads out of {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(target)


def _post(sink: WebhookSink, body: dict[str, str], key: str) -> None:
    headers = {"idempotency-key": key}
    if sink.token is not None:
        headers["authorization"] = f"Bearer {read_secret('sink.token', sink.token)}"
    try:
        with SyncClientBuilder().timeout(timedelta(seconds=30)).no_proxy().build() as client:
            status = client.post(sink.url).headers(headers).body_json(body).build().send().status
    except PyreqwestError as error:
        raise ItemDeferred(f"{sink.url} does not answer: {error}") from error
    if (
        status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        raise ItemDeferred(f"{sink.url} answered {status}")
    if status >= HTTPStatus.BAD_REQUEST:
        raise ItemRejected(f"{sink.url} answered {status}")
