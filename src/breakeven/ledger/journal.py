"""The journal: records on local disk before anyone is told that they are written.

One record is one line, ``crc32-in-hex space JSON newline``, written with a single ``write`` to a file opened for
appending. Once ``append`` has returned the kernel holds the record, so it outlives the process however that ends;
only with ``sync`` does it outlive the machine. The journal is also the queue: whoever writes the database takes
batches from the front and settles them, and a segment leaves the disk only when all of it is settled.

Each segment belongs to one process, which holds a lock on it for as long as it lives. A segment whose lock is free
was left by a dead process and may be adopted.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024**2
READ_BYTES = 1024**2
PROBE_BYTES = 64 * 1024
SUFFIX = ".journal"
CHECKSUM_DIGITS = 8


def frame(record: bytes) -> bytes:
    """The line that holds a record.

    >>> frame(b"{}")
    b'a3a6bf43 {}\\n'
    """
    return b"%08x %b\n" % (crc32(record), record)


def unframe(line: bytes) -> bytes | None:
    """The record of a line without its newline, or ``None`` when the checksum says that the line is damaged.

    >>> unframe(b"a3a6bf43 {}"), unframe(b"a3a6bf43 {"), unframe(b"")
    (b'{}', None, None)
    """
    record = line[CHECKSUM_DIGITS + 1 :]
    return record if line[: CHECKSUM_DIGITS + 1] == b"%08x " % crc32(record) else None


def _sync(descriptor: int) -> None:
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)  # on macOS fsync does not reach the platter
    if full_sync is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full_sync)


class Segment:
    """One file of the journal, locked by this process.

    Attributes:
        size: bytes of whole records in it.
        settled: bytes at its front that need not be read again.
    """

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = size
        self.settled = 0

    @classmethod
    def create(cls, folder: Path, suffix: str = SUFFIX) -> Segment:
        """A new, empty segment. It takes its final name only once it is locked, so nobody can mistake it for
        an orphan."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        unlocked = folder / f"{name}.new"
        descriptor = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = folder / f"{name}{suffix}"
            unlocked.rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, 0)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """The segment of a process that has died; ``None`` while its owner lives or when another adopted it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        status = os.fstat(descriptor)
        if status.st_nlink == 0:  # drained and deleted between our open and our lock
            os.close(descriptor)
            return None
        return cls(path, descriptor, status.st_size)

    def write(self, line: bytes, *, sync: bool) -> None:
        """Append a line whole or not at all."""
        try:
            written = os.write(self.descriptor, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, "only part of the record could be written", str(self.path))
            if sync:
                _sync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(line)

    def clear(self) -> None:
        """Forget the contents, all of them settled."""
        os.ftruncate(self.descriptor, 0)
        self.size = self.settled = 0

    def release(self) -> None:
        """Keep the file and release its lock."""
        os.close(self.descriptor)

    def delete(self) -> None:
        """Remove the file and release its lock."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records from the front of one segment.

    Attributes:
        end: where the batch ends in its segment; settling the batch settles everything before it.
        records: as they were appended.
        damaged: lines whose checksum is wrong, for instance one that a power cut tore.
    """

    segment: Segment
    end: int
    records: tuple[bytes, ...]
    damaged: tuple[bytes, ...]


class Journal:
    """The segments of one process, and those it adopted from dead ones.

    ``append`` may be called from any thread; ``next_batch``, ``settle`` and ``adopt`` from one at a time.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, sync: bool = False) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._lock = threading.Lock()
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes not yet settled."""
        return self._pending_bytes

    def append(self, record: bytes) -> None:
        """Hand a record to the kernel.

        Raises:
            OSError: nothing was written: the disk is full, the file system is read-only…
        """
        line = frame(record)
        with self._lock:
            self._writable(len(line)).write(line, sync=self._sync)
            self._pending_bytes += len(line)

    def probe(self) -> None:
        """Try whether records can be written, without leaving one.

        Raises:
            OSError: as ``append`` would.
        """
        with self._lock:
            segment = self._writable(0)
            segment.write(b"\n" * PROBE_BYTES, sync=False)  # readers skip empty lines, should we be killed here
            segment.size -= PROBE_BYTES
            os.ftruncate(segment.descriptor, segment.size)

    def adopt(self) -> int:
        """Take over the segments that dead processes left; returns how many bytes they hold."""
        adopted = 0
        for path in sorted(self.folder.glob(f"*{SUFFIX}"), reverse=True):
            segment = Segment.adopt(path)
            if segment is None:
                continue
            if segment.size == 0:
                segment.delete()
                continue
            adopted += segment.size
            with self._lock:
                self._segments.appendleft(segment)
                self._pending_bytes += segment.size
        return adopted

    def pending_bytes_of_others(self) -> int:
        """Bytes in segments that belong to living processes other than this one."""
        with self._lock:
            own = {segment.path for segment in self._segments}
        total = 0
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path not in own:
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
        return total

    def next_batch(self, limit: int) -> Batch | None:
        """Up to ``limit`` records from the front, or ``None`` when all are settled."""
        with self._lock:
            segment = next((one for one in self._segments if one.settled < one.size), None)
            if segment is None:
                return None
            start, end = segment.settled, segment.size
        length = READ_BYTES
        while True:
            data = os.pread(segment.descriptor, min(length, end - start), start)
            if b"\n" in data or len(data) < length:
                break
            length *= 2
        records: list[bytes] = []
        damaged: list[bytes] = []
        position = 0
        while position < len(data) and len(records) + len(damaged) < limit:
            stop = data.find(b"\n", position)
            if stop < 0:
                if start + len(data) < end:
                    break  # the rest of this line lies beyond what was read
                stop = len(data)  # torn: the segment ends without a newline
            line = data[position:stop]
            position = min(stop + 1, len(data))
            if not line:
                continue
            record = unframe(line)
            if record is None:
                damaged.append(line)
            else:
                records.append(record)
        return Batch(segment, start + position, tuple(records), tuple(damaged))

    def settle(self, batch: Batch) -> None:
        """Everything up to the end of this batch is safe elsewhere."""
        with self._lock:
            segment = batch.segment
            self._pending_bytes -= batch.end - segment.settled
            segment.settled = batch.end
            if segment.settled < segment.size:
                return
            if segment is self._active:
                segment.clear()
            else:
                self._segments.remove(segment)
                segment.delete()

    def close(self) -> None:
        """Release all segments. Unsettled records stay on disk for whoever opens the journal next."""
        with self._lock:
            for segment in self._segments:
                if segment.settled == segment.size:
                    segment.delete()
                else:
                    segment.release()
            self._segments.clear()
            self._active = None

    def _writable(self, length: int) -> Segment:
        active = self._active
        if active is not None and (active.size == 0 or active.size + length <= self._segment_bytes):
            return active
        self._active = Segment.create(self.folder)
        self._segments.append(self._active)
        if active is not None and active.settled == active.size:
            self._segments.remove(active)
            active.delete()
        return self._active
