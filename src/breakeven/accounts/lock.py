"""One gateway to a home folder: balances in memory are right only when nobody else spends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakeven.errors import InputError, LedgerError

FILE_NAME = "gateway.lock"


@contextmanager
def sole_gateway(home: Path) -> Iterator[None]:
    """Hold the lock on a home folder; the system releases it however the process ends.

    Raises:
        InputError: another gateway holds it.
        LedgerError: the folder cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / FILE_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise LedgerError(f"the folder {home} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another gateway works in {home}",
                remedy="Stop it, give this one another home, or let both share a PostgreSQL (ledger.url).",
            ) from error
        yield
    finally:
        os.close(descriptor)
