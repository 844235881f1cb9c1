"""From the journal into the database, and aside what neither can take."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import msgspec

from breakeven.errors import LedgerError, LedgerUnavailable, RecordRejected
from breakeven.ledger.journal import Journal
from breakeven.ledger.records import Call
from breakeven.ledger.sent import left_behind
from breakeven.ledger.store import Store

logger = logging.getLogger(__name__)

BATCH_RECORDS = 500
POLL_SECONDS = 0.02
REJECTED = "rejected.jsonl"
DAMAGED = "damaged.txt"

_decoder = msgspec.json.Decoder(Call)


def drain_batch(journal: Journal, store: Store) -> int | None:
    """Move one batch; returns how many calls were new, or ``None`` when the journal is empty.

    Records that the database refuses for their content are appended to ``rejected.jsonl`` beside the journal, and
    damaged lines to ``damaged.txt``, so that neither blocks what comes after.

    Raises:
        LedgerUnavailable: the database is down; the batch stays in the journal.
        OSError: the journal's disk fails; likewise.
    """
    batch = journal.next_batch(BATCH_RECORDS)
    if batch is None:
        return None
    if batch.damaged:
        _set_aside(journal.folder / DAMAGED, batch.damaged)
        logger.error(
            "%d damaged journal lines in %s were set aside in %s; the records around them are kept",
            len(batch.damaged),
            batch.segment.path.name,
            journal.folder / DAMAGED,
        )
    inserted = store_records(batch.records, store, journal.folder)
    journal.settle(batch)
    return inserted


def drain(journal: Journal, store: Store) -> int:
    """Move all there is; returns how many calls were new. Errors as ``drain_batch``."""
    total = 0
    while (inserted := drain_batch(journal, store)) is not None:
        total += inserted
    return total


def recover(folder: Path, store: Store, *, patience_seconds: float = 0.0) -> int:
    """Move into the database what dead processes left in their journals, and wait up to ``patience_seconds`` for
    living ones to write theirs.

    Returns:
        Bytes that are still in journals: those of processes that are alive and about to write them, or all of them
        while the database takes no writes.

    Raises:
        LedgerError: the journal's folder cannot be read and written.
    """
    try:
        journal = Journal(folder)
        try:
            if journal.adopt():
                drain(journal, store)
            for segment, records in left_behind(folder):
                try:
                    store_records(records, store, folder)
                except LedgerUnavailable:
                    segment.release()
                    raise
                segment.delete()
            deadline = time.monotonic() + patience_seconds
            while journal.pending_bytes_of_others() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        except LedgerUnavailable as error:
            logger.warning("%s; what is left in the journal is not counted yet", error.message)
        finally:
            left = journal.pending_bytes + journal.pending_bytes_of_others()
            journal.close()
    except OSError as error:
        raise LedgerError(f"the journal in {folder} cannot be read: {error.strerror}") from error
    return left


def store_records(records: tuple[bytes, ...], store: Store, folder: Path) -> int:
    """Insert encoded calls; returns how many were new. Those with impossible content go to ``rejected.jsonl``."""
    readable: list[tuple[Call, bytes]] = []
    rejected: list[tuple[bytes, str]] = []
    for record in records:
        try:
            readable.append((_decoder.decode(record), record))
        except msgspec.DecodeError as error:
            rejected.append((record, str(error)))
    try:
        inserted = store.insert([call for call, _ in readable])
    except RecordRejected:
        inserted = 0
        for call, record in readable:
            try:
                inserted += store.insert([call])
            except RecordRejected as error:
                rejected.append((record, str(error)))
    if rejected:
        _set_aside(folder / REJECTED, [_with_reason(record, reason) for record, reason in rejected])
        logger.error(
            "%d records were refused by the database and set aside in %s; the first because %s",
            len(rejected),
            folder / REJECTED,
            rejected[0][1],
        )
    return inserted


def _with_reason(record: bytes, reason: str) -> bytes:
    return msgspec.json.encode({"reason": reason, "record": record.decode("utf-8", "replace")})


def _set_aside(path: Path, lines: list[bytes] | tuple[bytes, ...]) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.writelines(line + b"\n" for line in lines)
        file.flush()
        os.fsync(descriptor)
