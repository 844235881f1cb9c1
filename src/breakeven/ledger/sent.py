"""What has been sent to a provider that bills, noted before it leaves, so that not even a kill of the process in the
middle of a call keeps it out of the books.

A note is the call as it stands, with an attempt that nobody counted. Notes are framed and locked as segments of the
journal are; they are forgotten once their call is recorded. What a dead process left is booked by whoever comes next,
under the call's own id, after that process's journal: a call that was recorded after all keeps its record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from breakeven.ledger.journal import Segment, frame, unframe

SUFFIX = ".sent"
CLEARED_BYTES = 64 * 1024
"""Notes that are no longer needed may take so much of the disk."""
SEGMENT_BYTES = 4 * 1024**2


class SentNotes:
    """The notes of this process. To be used from any thread."""

    def __init__(self, folder: Path, *, sync: bool = False) -> None:
        self._folder = folder
        self._sync = sync
        self._lock = threading.Lock()
        self._segments: list[tuple[Segment, set[str]]] = []

    def note(self, call: str, record: bytes) -> None:
        """Keep a record of the call of this id, until it is forgotten.

        Raises:
            OSError: nothing was written.
        """
        line = frame(record)
        with self._lock:
            if not self._segments or self._segments[-1][0].size + len(line) > SEGMENT_BYTES:
                self._segments.append((Segment.create(self._folder, SUFFIX), set()))
            segment, under_way = self._segments[-1]
            segment.write(line, sync=self._sync)
            under_way.add(call)

    def forget(self, call: str) -> None:
        """The call is recorded."""
        with self._lock:
            for _, under_way in self._segments:
                under_way.discard(call)
            while len(self._segments) > 1 and not self._segments[0][1]:
                self._segments.pop(0)[0].delete()
            if self._segments and not self._segments[-1][1] and self._segments[-1][0].size > CLEARED_BYTES:
                self._segments[-1][0].clear()

    def close(self) -> None:
        """Leave what is still under way to whoever opens the books next."""
        with self._lock:
            for segment, under_way in self._segments:
                if under_way:
                    segment.release()
                else:
                    segment.delete()
            self._segments.clear()


def left_behind(folder: Path) -> Iterator[tuple[Segment, tuple[bytes, ...]]]:
    """The notes of processes that have died: records, the newest first, so that of two of one call the later counts.

    Delete a segment once its records are safe, or release it.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        segment = Segment.adopt(path)
        if segment is not None:
            records = (unframe(line) for line in path.read_bytes().split(b"\n"))
            yield segment, tuple(record for record in records if record is not None)[::-1]
