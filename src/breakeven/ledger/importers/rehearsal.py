"""An import that changes nothing: records go into a ledger that is thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from breakeven.config import LedgerSettings
from breakeven.ledger.database import FILE_NAME
from breakeven.ledger.records import Call, UsageBucket
from breakeven.ledger.store import Merged, Store


class Rehearsal:
    """Takes what the ledger does not hold, and keeps it for as long as it takes to tell repeats."""

    def __init__(self, scratch: Store, ledger: Store | None) -> None:
        self._scratch = scratch
        self._ledger = ledger

    def merge(self, batch: Iterable[Call], complete: Callable[[Call], Call] = lambda call: call) -> Merged:
        """The calls that would be new; errors as ``Store.merge``."""
        calls = list(batch)
        held = set() if self._ledger is None else self._ledger.known([call.id for call in calls])
        return self._scratch.merge((call for call in calls if call.id not in held), complete)

    def insert_buckets(self, batch: Iterable[UsageBucket]) -> int:
        """How many buckets would be new; errors as ``Store.insert_buckets``."""
        buckets = list(batch)
        held = set() if self._ledger is None else self._ledger.known_buckets([bucket.id for bucket in buckets])
        return self._scratch.insert_buckets(bucket for bucket in buckets if bucket.id not in held)


@contextmanager
def rehearsal(settings: LedgerSettings, home: Path) -> Iterator[Rehearsal]:
    """A rehearsal beside the configured ledger, if there is one."""
    there = settings.url is not None or (home / FILE_NAME).exists()
    ledger = Store.connect(settings, home) if there else None
    try:
        with tempfile.TemporaryDirectory(prefix="breakeven-dry-run-") as folder:
            scratch = Store.open(LedgerSettings(), Path(folder))
            try:
                yield Rehearsal(scratch, ledger)
            finally:
                scratch.close()
    finally:
        if ledger is not None:
            ledger.close()
