"""Processes of a test: none outlives it, and none is waited for without an end."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import IO, Any

PATIENCE_SECONDS = 120.0
REAPED_SECONDS = 30.0
"""The system takes this long at most to end what was killed."""


@contextmanager
def running(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, killed when left."""
    process = subprocess.Popen(command, text=True, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait(REAPED_SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def line_of(process: subprocess.Popen[str], stream: IO[str] | None, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """The next line that a process prints; one that stays silent for too long is killed."""
    assert stream is not None
    impatient = threading.Timer(patience_seconds, process.kill)
    impatient.start()
    try:
        line = stream.readline()
    finally:
        impatient.cancel()
    assert line, f"{process.args!r} said nothing within {patience_seconds:.0f} s, or ended: {process.poll()}"
    return line


def end(process: BaseProcess) -> None:
    """Kill a process of ``multiprocessing``, whatever state it is in."""
    process.kill()
    process.join(REAPED_SECONDS)
    assert not process.is_alive(), f"process {process.pid} was killed and is still there after {REAPED_SECONDS:.0f} s"
