"""Who is at work: a heartbeat each, and which of them are dead."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from breakeven.agents import database
from breakeven.agents.database import workers
from breakeven.errors import AgentError, InputError

LOCK_NAME = "agents.lock"
TAKEOVER_LOCK = 0x62726B  # PostgreSQL advisory lock; any number that nobody else uses


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that works for the fleet; its id is its own and is never used again."""

    id: str
    host: str
    pid: int
    process_started: float

    @classmethod
    def of_this_process(cls) -> Worker:
        """A worker for the calling process."""
        started = psutil.Process().create_time()
        return cls(
            f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}", socket.gethostname(), os.getpid(), started
        )


def register(connection: Connection, worker: Worker) -> None:
    """Enter a worker."""
    at = database.now(connection)
    values = {"host": worker.host, "pid": worker.pid, "process_started": worker.process_started}
    connection.execute(
        sa.insert(workers).values(id=worker.id, **values, started_at=time.time(), heartbeat_at=at, state="live")
    )


def beat(connection: Connection, worker: str) -> bool:
    """Say that a worker is alive, also when it was held for dead in the meantime. Whether it was asked to leave."""
    state = sa.case((workers.c.state == "draining", "draining"), else_="live")
    update = sa.update(workers).where(workers.c.id == worker)
    beaten = update.values(heartbeat_at=database.now(connection), state=state).returning(workers.c.state)
    return bool(connection.scalar(beaten) == "draining")


def ask_to_leave(connection: Connection) -> int:
    """Ask all workers to finish what they have in hand and leave. How many were asked."""
    live = sa.update(workers).where(workers.c.state == "live")
    return connection.execute(live.values(state="draining")).rowcount


def present(connection: Connection, lease_seconds: float) -> list[tuple[Worker, str]]:
    """Workers that are at work by their heartbeat, with their state."""
    since = database.now(connection) - max(lease_seconds, 5.0)
    found = connection.execute(sa.select(workers).where(workers.c.state != "gone", workers.c.heartbeat_at >= since))
    return [(Worker(row.id, row.host, row.pid, row.process_started), row.state) for row in found]


def forget(connection: Connection, before: float) -> None:
    """Drop workers that left before an instant."""
    connection.execute(sa.delete(workers).where(workers.c.state == "gone", workers.c.heartbeat_at < before))


def leave(connection: Connection, worker: str) -> None:
    """Strike a worker off."""
    connection.execute(sa.update(workers).where(workers.c.id == worker).values(state="gone"))


def dead(connection: Connection, me: Worker, lease_seconds: float, *, sole: bool) -> list[str]:
    """Workers that are entered and do not live.

    On another machine silence for the length of the lease tells; on this one a process that is gone tells at once.

    Args:
        sole: nobody else can be at work, as with a locked SQLite file.
    """
    silent_since = database.now(connection) - lease_seconds
    others = sa.select(workers).where(workers.c.state != "gone", workers.c.id != me.id)
    return [
        row.id
        for row in connection.execute(others)
        if sole
        or row.heartbeat_at < silent_since
        or (row.host == me.host and not _exists(row.pid, row.process_started))
    ]


def hold(connection: Connection, other: str) -> bool:
    """Be the one who takes over from a dead worker, until the end of the transaction; false when another one does, or
    has done so already."""
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtext(other)
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(TAKEOVER_LOCK, key))):
            return False
    return connection.scalar(sa.select(workers.c.state).where(workers.c.id == other)) != "gone"


def _exists(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextmanager
def sole_worker(folder: Path) -> Iterator[None]:
    """Hold the lock that lets one process work on a SQLite file; the system releases it however the process ends.

    Raises:
        InputError: another worker holds it.
        AgentError: the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise AgentError(f"the folder {folder} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another worker runs the agents of {folder}",
                remedy="Stop it, or let several workers share a PostgreSQL (agents.url).",
            ) from error
        yield
    finally:
        os.close(descriptor)
