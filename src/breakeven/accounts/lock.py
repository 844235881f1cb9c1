"""One gateway to a SQLite database: balances in memory are right only when nobody else spends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakeven.errors import InputError, LedgerError

SUFFIX = ".lock"


@contextmanager
def sole_gateway(database: Path) -> Iterator[None]:
    """Hold the lock beside a database; the system releases it however the process ends.

    Raises:
        InputError: another gateway holds it.
        LedgerError: the folder cannot be written.
    """
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(f"{database}{SUFFIX}", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise LedgerError(f"the folder {database.parent} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another gateway spends from {database}",
                remedy="Stop it, give this one another home, or let both share a PostgreSQL (ledger.url).",
            ) from error
        yield
    finally:
        os.close(descriptor)
