"""The gateway, or the engine behind it, is killed in the middle of calls: each item is still written once, what was
paid is bounded, and the ledger knows of every call that the cloud invoiced."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from tests.agents.killed import CALLS_AN_ITEM, Fleet, Slaughter, doubled_and_lost, ended, until
from tests.agents.test_kills import paid
from tests.fakes import child, cloud
from tests.fakes.cloud import MINI, SimulatedCloud
from tests.gateway.conftest import booked_calls, run_gateway

from breakeven import config
from breakeven.box.models import ModelFile
from breakeven.cloudsim.serving import Latency
from breakeven.gateway.booking import KILLED
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Call

pytestmark = pytest.mark.slow
ITEMS, KILLS, PARALLEL = 32, 3, 4


@contextmanager
def serving(home: Path, file: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """``breakeven serve`` at a port of our choice, where it is found again after a kill."""
    command = [sys.executable, "-m", "breakeven", "serve", "--port", str(port), "--json", "--config", str(file)]
    environment = {**os.environ, "BREAKEVEN_HOME": str(home), "SKY_KEY": "sk-sim"}
    with child.running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as gateway:
        assert json.loads(child.line_of(gateway, gateway.stdout))["url"].endswith(f":{port}")
        yield gateway


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def booked(home: Path) -> list[Call]:
    """What the ledger has, once what the last gateway left is in it."""
    ledger = Ledger.open(config.LedgerSettings(), home)
    try:
        assert ledger.flush(30)
    finally:
        ledger.close()
    return booked_calls(home)


def asked(sky: SimulatedCloud) -> int:
    return int(sky.seen()["requests"])


def engine_is_asked(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/admin", timeout=30) as answer:
        (engine,) = json.load(answer)["box"]["engines"]
    return any(slot["busy"] for slot in engine["slots"])


def test_a_gateway_killed_in_the_middle_of_calls(tmp_path: Path, start: Callable[[Fleet], BaseProcess]) -> None:
    home, file, port = tmp_path / "gateway", tmp_path / "breakeven.toml", free_port()
    with cloud.running(latency=Latency(first_token_seconds=0.25)) as sky:
        file.write_text(
            f'[policy]\ndefault_data = "shareable"\n'
            f'[providers.sky]\nbase_url = "{sky.url}/v1"\nlocality = "remote"\nkey = "env:SKY_KEY"\n'
            f'[models.sky]\nprovider = "sky"\nmodel = "{MINI}"\n'
        )
        fleet = Fleet(tmp_path, None, f"http://127.0.0.1:{port}/v1", "patient")
        engine = Slaughter(fleet, 1, random.Random(6)).prepare(ITEMS)
        start(fleet)
        for kill in range(KILLS):
            with serving(home, file, port):
                until(lambda target=(kill + 1) * ITEMS // (KILLS + 1): ended(engine) >= target)  # type: ignore[misc]
                before = asked(sky)
                until(lambda before=before: asked(sky) > before)  # type: ignore[misc]
        with serving(home, file, port):
            until(lambda: ended(engine) >= ITEMS)
        billed = paid(sky)
        assert doubled_and_lost(engine, ITEMS) == (0, 0)
        engine.dispose()
    attempts = [attempt for call in booked(home) for attempt in call.attempts]
    completed = sum(attempt.outcome == "completed" for attempt in attempts)
    possibly_billed = sum(attempt.error == KILLED for attempt in attempts)
    assert 1 <= possibly_billed <= KILLS * PARALLEL
    assert completed + possibly_billed == len(attempts)
    assert completed <= billed <= completed + possibly_billed, "every call that was invoiced is in the books"
    # One whose answer was booked but not yet kept for its key is paid twice as well, and completed twice in the books.
    assert ITEMS * CALLS_AN_ITEM <= billed <= ITEMS * CALLS_AN_ITEM + KILLS * PARALLEL, "at most what was in flight"


@pytest.mark.engine
def test_an_engine_killed_in_the_middle_of_calls(
    tmp_path: Path, demo_model: ModelFile, start: Callable[[Fleet], BaseProcess]
) -> None:
    items = ITEMS // 2
    document: dict[str, Any] = {
        "engine": {"model": str(demo_model.path), "context": 512, "cache_ram_mib": 0},
        "models": {"sky": {"provider": "engine", "model": "local"}},
    }
    with run_gateway(document, tmp_path / "gateway") as gateway:
        box = gateway.engine
        assert box is not None
        fleet = Fleet(tmp_path, None, f"{gateway.url}/v1", "patient")
        engine = Slaughter(fleet, 1, random.Random(7)).prepare(items)
        start(fleet)
        for kill in range(KILLS):
            until(lambda target=(kill + 1) * items // (KILLS + 1): ended(engine) >= target and box.pid is not None)  # type: ignore[misc]
            assert box.pid is not None
            os.kill(box.pid, signal.SIGSTOP)  # so that the call it gets is not answered before it dies
            until(lambda: engine_is_asked(gateway.url))
            os.kill(box.pid, signal.SIGKILL)
            until(lambda kill=kill: box.restarts > kill)  # type: ignore[misc]
        until(lambda: ended(engine) >= items)
        calls = gateway.calls()
        assert doubled_and_lost(engine, items) == (0, 0)
        engine.dispose()
    assert sum(call.outcome == "completed" for call in calls) == items * CALLS_AN_ITEM, "each call answered once"
