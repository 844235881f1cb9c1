"""The fixture files, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from breakeven.catalog.prices import PriceBook, open_book
from breakeven.config import LedgerSettings
from breakeven.ledger.importers.found import NO_OPTIONS, Found, Options
from breakeven.ledger.importers.price import Pricer
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.run import Account, Import
from breakeven.ledger.importers.sources import SOURCES, select
from breakeven.ledger.records import Attempt, Call
from breakeven.ledger.store import Store

FILES = Path(__file__).parent / "files"
REFERENCE = ("anthropic", "claude-sonnet-4-5")


def read(source: str, path: Path, options: Options = NO_OPTIONS) -> list[Found]:
    """Everything that a source's importer finds in a file."""
    with path.open("rb") as stream:
        return list(SOURCES[source].read(OpenFile(path, stream), options))


def calls_in(source: str, path: Path, options: Options = NO_OPTIONS) -> list[Call]:
    return [found for found in read(source, path, options) if isinstance(found, Call)]


def only(call: Call) -> Attempt:
    (attempt,) = call.attempts
    return attempt


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    return open_book({}, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def pricer(book: PriceBook) -> Pricer:
    return Pricer(book, REFERENCE)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Store]:
    """An empty ledger on SQLite."""
    home = tmp_path / "ledger"
    home.mkdir()
    opened = Store.open(LedgerSettings(), home)
    yield opened
    opened.close()


@pytest.fixture
def take_in(ledger: Store, pricer: Pricer) -> Callable[..., list[Account]]:
    """Import paths into the ledger."""

    def run(
        *paths: Path, source: str | None = None, options: Options = NO_OPTIONS, subscribed: bool = False
    ) -> list[Account]:
        return Import(ledger, pricer, options, subscribed=subscribed).run(select(paths, source).files)

    return run
