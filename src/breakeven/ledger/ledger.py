"""The ledger as the gateway sees it: record a call before its last byte leaves, and know when that is impossible."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from itertools import islice
from pathlib import Path

import msgspec

from breakeven.config.settings import LedgerSettings
from breakeven.errors import BreakevenError, LedgerError, LedgerUnavailable
from breakeven.ledger.drain import BATCH_RECORDS, drain_batch, store_records
from breakeven.ledger.journal import SEGMENT_BYTES, Journal
from breakeven.ledger.records import Call
from breakeven.ledger.sent import SentNotes, left_behind
from breakeven.ledger.store import Store

logger = logging.getLogger(__name__)

JOURNAL_FOLDER = "journal"
BATCH_SECONDS = 0.2
BUSY_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 5.0


class LedgerStatus(msgspec.Struct, frozen=True):
    """How the books stand.

    Attributes:
        accepting: whether a new call may be served; ``refusing_because`` says why not.
        database_error / journal_error: what the last try ran into; ``None`` when all is well.
        journal_bytes_pending: bytes that are in the journal and not yet in the database.
        records_in_memory: records not yet in the journal: spooled ones, or the newest with ``batched``.
        last_commit_at: Unix time of the last write to the database; ``None`` before the first.
    """

    accepting: bool
    refusing_because: str | None
    database_error: str | None
    journal_error: str | None
    journal_bytes_pending: int
    records_in_memory: int
    last_commit_at: float | None


class Ledger:
    """A journal, a database, and the thread that moves records from the one to the other.

    ``record`` and ``check`` may be called from any thread.
    """

    def __init__(self, settings: LedgerSettings, journal: Journal, store: Store, *, migrated: bool) -> None:
        self._settings = settings
        self._journal = journal
        self._store = store
        self._migrated = migrated
        self._encoder = msgspec.json.Encoder()
        self._sent = SentNotes(journal.folder, sync=settings.sync)
        self._memory: deque[bytes] = deque()
        self._database_error: str | None = None
        self._journal_error: str | None = None
        self._last_commit_at: float | None = None
        self._closing = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._rounds = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="breakeven-ledger", daemon=True)

    @classmethod
    def open(cls, settings: LedgerSettings, home: Path) -> Ledger:
        """Open the books: migrate the database, take over what dead processes left in their journals, start writing.

        A database that does not answer is no reason not to open: calls are journaled until it does.

        Raises:
            ConfigError: ``ledger.url`` is wrong.
            LedgerError: the home folder cannot be written, or the database belongs to a newer version.
        """
        try:
            segment_bytes = min(SEGMENT_BYTES, settings.journal_max_bytes // 4)
            journal = Journal(home / JOURNAL_FOLDER, segment_bytes=segment_bytes, sync=settings.sync)
            adopted = journal.adopt()
            interrupted = _book_interrupted(journal)
        except OSError as error:
            remedy = "Make the folder writable, or set home in the configuration."
            raise LedgerError(f"the journal in {home} cannot be opened: {error.strerror}", remedy=remedy) from error
        if adopted:
            logger.warning("recovering %d bytes of journal left by a process that was killed", adopted)
        if interrupted:
            logger.warning("booking what may have been billed of the calls in the middle of which a process was killed")
        migrated, trouble = True, None
        try:
            store = Store.connect(settings, home, busy_seconds=BUSY_SECONDS)
            try:
                store.migrate()
            except LedgerUnavailable as error:
                migrated, trouble = False, error.message
            except LedgerError:
                store.close()
                raise
        except BreakevenError:
            journal.close()
            raise
        ledger = cls(settings, journal, store, migrated=migrated)
        ledger._note_database(trouble)
        ledger._probe_journal()
        ledger._thread.start()
        return ledger

    def sending(self, call: Call) -> None:
        """Note a call that is about to be sent to a provider that bills; until it is recorded, a kill of the process
        leaves it in the books as it is given here.

        Raises:
            LedgerUnavailable: it could not be noted, and policy is to refuse.
        """
        try:
            self._sent.note(call.id, self._encoder.encode(call))
        except OSError as error:
            self._note_journal(error)
            if self._settings.on_journal_failure == "refuse":
                raise self._refusal() from error

    def record(self, call: Call) -> None:
        """Keep a call. Once this returns, a kill of the process loses it no more (save with ``batched``).

        Raises:
            LedgerUnavailable: the call is not safe, and its answer must not be completed. What it used is still
                held in memory, as a failed call, and written if the disk recovers.
        """
        self._keep(call)
        self._sent.forget(call.id)

    def _keep(self, call: Call) -> None:
        record = self._encoder.encode(call)
        if self._settings.durability == "batched":
            self._hold(record)
            self._wake.set()
            return
        try:
            self._journal.append(record)
        except OSError as error:
            self._note_journal(error)
            if self._settings.on_journal_failure == "refuse":
                self._hold(self._encoder.encode(msgspec.structs.replace(call, outcome="failed")))
                raise self._refusal() from error
            self._hold(record)
        if not self._wake.is_set():  # setting it takes a lock; once set, the record is seen in the next round
            self._wake.set()

    def check(self) -> None:
        """Whether a new call may be served.

        Raises:
            LedgerUnavailable: it could not be recorded.
        """
        if self._refusal_reason() is not None:
            raise self._refusal()

    def status(self) -> LedgerStatus:
        """How the books stand."""
        reason = self._refusal_reason()
        return LedgerStatus(
            accepting=reason is None,
            refusing_because=reason,
            database_error=self._database_error,
            journal_error=self._journal_error,
            journal_bytes_pending=self._journal.pending_bytes,
            records_in_memory=len(self._memory),
            last_commit_at=self._last_commit_at,
        )

    def flush(self, timeout: float) -> bool:
        """Wait until all that was recorded is in the database; ``False`` if that takes more than ``timeout`` s."""
        deadline = time.monotonic() + timeout
        with self._rounds:
            while self._memory or self._journal.pending_bytes:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._hurry.set()
                self._wake.set()
                self._rounds.wait(min(left, BATCH_SECONDS))
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Write what can be written within ``timeout`` seconds and stop. The rest stays in the journal."""
        if self._closing:
            return
        flushed = self.flush(timeout)
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join()
        if not flushed:
            logger.warning(
                "the ledger closes with %d bytes left in the journal for the next start, %d records lost from memory",
                self._journal.pending_bytes,
                len(self._memory),
            )
        self._journal.close()
        self._sent.close()
        self._store.close()

    def _hold(self, record: bytes) -> None:
        if len(self._memory) >= self._settings.spool_max_records:
            raise self._refusal()
        self._memory.append(record)

    def _refusal_reason(self) -> str | None:
        settings = self._settings
        if self._closing:
            return "the ledger is closed"
        if not self._thread.is_alive():
            return "the ledger's writer has stopped; the log says why"
        if self._journal_error is not None and settings.on_journal_failure == "refuse":
            return f"the journal cannot be written ({self._journal_error})"
        if len(self._memory) >= settings.spool_max_records:
            return f"ledger.spool_max_records = {settings.spool_max_records} records wait in memory"
        if self._journal.pending_bytes >= settings.journal_max_bytes:
            return f"the database does not answer and the journal holds its {settings.journal_max_bytes} bytes"
        return None

    def _refusal(self) -> LedgerUnavailable:
        reason = self._refusal_reason() or "the record could not be kept"
        remedy = "Free the disk or bring back the database (`breakeven serve` logs which); calls resume by themselves."
        return LedgerUnavailable(f"calls are refused, since they could not be recorded: {reason}", remedy=remedy)

    def _note_journal(self, error: OSError | None) -> None:
        text = None if error is None else error.strerror or str(error)
        before, self._journal_error = self._journal_error, text
        if text is not None and before is None:
            action = "refused" if self._settings.on_journal_failure == "refuse" else "held in memory"
            logger.error("the journal in %s cannot be written (%s): calls are %s", self._journal.folder, text, action)
        elif text is None and before is not None:
            logger.warning("the journal can be written again")

    def _note_database(self, error: str | None) -> None:
        before, self._database_error = self._database_error, error
        if error is not None and before is None:
            logger.error("%s; calls stay in the journal until it does", error)
        elif error is None and before is not None:
            logger.warning("the ledger's database answers again")

    def _probe_journal(self) -> None:
        try:
            self._journal.probe()
        except OSError as error:
            self._note_journal(error)
        else:
            self._note_journal(None)

    def _run(self) -> None:
        backoff = BATCH_SECONDS
        while not self._closing:
            try:
                self._round()
            except (LedgerError, OSError) as error:
                self._note_database(error.message if isinstance(error, LedgerError) else str(error))
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            else:
                backoff = BATCH_SECONDS
            with self._rounds:
                self._rounds.notify_all()
            if self._database_error is None and self._journal_error is None and not self._memory:
                self._wake.wait()
            self._wake.clear()
            self._hurry.wait(backoff)  # let a batch gather; a flush does not wait
            self._hurry.clear()

    def _round(self) -> None:
        if self._journal_error is not None:
            self._probe_journal()
        if self._memory and self._journal_error is None:
            self._move_memory_to_journal()
        if not self._migrated:
            self._store.migrate()
            self._migrated = True
        while self._memory and self._journal_error is not None and not self._closing:
            self._move_memory_to_database()
        while not self._closing and drain_batch(self._journal, self._store) is not None:
            self._note_commit()
        self._note_database(None)

    def _move_memory_to_journal(self) -> None:
        while self._memory:
            try:
                self._journal.append(self._memory[0])
            except OSError as error:
                self._note_journal(error)
                return
            self._memory.popleft()

    def _move_memory_to_database(self) -> None:
        records = tuple(islice(self._memory, BATCH_RECORDS))
        store_records(records, self._store, self._journal.folder)
        for _ in records:
            self._memory.popleft()
        self._note_commit()

    def _note_commit(self) -> None:
        self._last_commit_at = time.time()
        self._note_database(None)


def _book_interrupted(journal: Journal) -> bool:
    """Put what dead processes had sent behind what they recorded, and tell whether there was something. Calls that were
    recorded after all keep their record, since it comes first."""
    found = False
    for segment, records in left_behind(journal.folder):
        try:
            for record in records:
                journal.append(record)
                found = True
        except OSError as error:
            logger.error("what was under way when a process was killed waits for the next start: %s", error.strerror)
            segment.release()
        else:
            segment.delete()
    return found
