"""The engine's own words: kept in a bounded log file, the latest lines at hand to explain a failure."""

from __future__ import annotations

from collections import deque
from pathlib import Path

MAX_BYTES = 5_000_000
KEPT_FILES = 3
TAIL_LINES = 40


class EngineLog:
    """Appends to ``engine.log``, and turns it over to ``engine.log.1`` … when it is full.

    A full disk silences the log and nothing else: the engine must not stop because its words cannot be kept.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES) -> None:
        self.path = folder / "engine.log"
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._unfinished = b""

    def write(self, words: bytes) -> None:
        """Append what the engine printed."""
        *lines, self._unfinished = (self._unfinished + words).split(b"\n")
        self.tail.extend(line.decode("utf-8", "replace") for line in lines)
        try:
            if self.path.exists() and self.path.stat().st_size + len(words) > self._max_bytes:
                self._turn_over()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(words)
        except OSError as error:
            self.tail.append(f"(the log {self.path} cannot be written: {error.strerror or error})")

    def first_error(self) -> str | None:
        """The first of the latest lines that llama.cpp marked as an error: the cause; those after it are its echoes."""
        return next((" ".join(line.split(" E ", 1)[1].split()) for line in self.tail if " E " in line), None)

    def _turn_over(self) -> None:
        for number in range(self._kept_files - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
