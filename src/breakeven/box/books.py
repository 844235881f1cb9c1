"""The ledger's database as the box reads it: soon or not at all, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from breakeven.config import LedgerSettings
from breakeven.ledger.store import Store
from breakeven.units import Seconds

READ_AT_ONCE: Seconds = 2.0
"""How long a writer is waited for."""


@contextmanager
def reading(settings: LedgerSettings, home: Path) -> Iterator[Store]:
    """The books, open for a look; what is asked of them raises ``LedgerUnavailable`` while they do not answer."""
    with closing(Store.connect(settings, home, busy_seconds=READ_AT_ONCE)) as store:
        yield store
