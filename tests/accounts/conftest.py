"""Accounts on real databases, empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from breakeven import config
from breakeven.accounts.accounts import Accounts, open_accounts
from breakeven.ledger import database
from breakeven.ledger.ledger import Ledger

SECRETS = {"DESK_KEY": "desk-secret-of-the-house", "LAB_KEY": "lab-secret-of-the-house"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str | None:
    """Each kind of database in turn."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
def ledger(url: str | None, tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(config.LedgerSettings(url=url), tmp_path)
    yield opened
    opened.close()


@asynccontextmanager
async def accounts_of(document: dict[str, Any], home: Path, ledger: Ledger, url: str | None) -> AsyncIterator[Accounts]:
    """The accounts of a gateway with this configuration."""
    settings = config.parse({**document, **({"ledger": {"url": url}} if url else {})})
    async with open_accounts(settings, home, ledger, SECRETS) as opened:
        yield opened


Run = Callable[[dict[str, Any], Callable[[Accounts], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def with_accounts(tmp_path: Path, ledger: Ledger, url: str | None) -> Run:
    """Run a test's coroutine with accounts of this configuration, opened anew each time."""

    def run(document: dict[str, Any], work: Callable[[Accounts], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with accounts_of(document, tmp_path, ledger, url) as accounts:
                await work(accounts)

        asyncio.run(main())

    return run


@pytest.fixture
def engine(url: str | None, tmp_path: Path, ledger: Ledger) -> Iterator[Any]:
    """The database that the ledger migrated, as a command would open it."""
    connected = database.connect(config.LedgerSettings(url=url), tmp_path)
    yield connected
    connected.dispose()
