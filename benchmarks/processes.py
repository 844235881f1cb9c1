"""Child processes of a benchmark: started on a free port, waited for, killed at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def free_port() -> int:
    """A loopback TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 60) -> float:
    """Seconds until something listens on the port."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return time.perf_counter() - started
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process for as long as the context lasts; its output is thrown away, its errors are shown."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def mock_upstream() -> Iterator[int]:
    """The mock model server; yields its port."""
    port = free_port()
    with running([sys.executable, str(HERE / "upstream_mock.py"), str(port)]):
        wait_for(port)
        yield port
