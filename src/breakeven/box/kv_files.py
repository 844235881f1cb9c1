"""The folder of KV files: computed prompts that left their slots, to be restored instead of computed again.

A KV file holds the prompt it was computed from. The folder is for the owner alone and is emptied when the engine is
first started and when the gateway ends.
"""

from __future__ import annotations

import contextlib
import shutil
from itertools import count
from pathlib import Path

SUFFIX = ".kv"


class KvFiles:
    """Names, deletes and counts the files; llama.cpp writes and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count(1)

    def prepare(self) -> None:
        """Make the folder, empty and closed to others."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.clear()

    def clear(self) -> None:
        """Delete all KV files."""
        for file in self.folder.glob(f"*{SUFFIX}"):
            file.unlink(missing_ok=True)

    def new_name(self) -> str:
        """A name that no file has."""
        return f"{next(self._numbers)}{SUFFIX}"

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone is no trouble, nor one that cannot be deleted: `clear` tries again."""
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def free_bytes(self) -> int:
        """Room on the disk it is on; 0 when that cannot be told."""
        existing = next((place for place in (self.folder, *self.folder.parents) if place.exists()), None)
        try:
            return shutil.disk_usage(existing).free if existing is not None else 0
        except OSError:
            return 0
