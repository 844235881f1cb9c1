"""Real databases, empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from breakeven.config import LedgerSettings
from breakeven.ledger.store import Store


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
