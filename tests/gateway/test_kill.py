"""A call whose last byte reached the client is in the ledger, whatever happens to the process next."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes import child
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import booked_calls

from breakeven import config
from breakeven.ledger.ledger import Ledger

CLIENTS = 4


@contextmanager
def gateway_process(home: Path, file: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``breakeven serve`` as a user runs it; yields the process and its port."""
    command = [sys.executable, "-m", "breakeven", "serve", "--port", "0", "--json", "--config", str(file)]
    environment = {**os.environ, "BREAKEVEN_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with child.running(command, env=environment, **pipes) as process:
        ready = json.loads(child.line_of(process, process.stdout))
        yield process, int(ready["url"].rsplit(":", 1)[1])


class Load:
    """Clients that call until the gateway is gone, and remember which calls they received whole."""

    def __init__(self, port: int, target: int) -> None:
        self.completed: list[str] = []
        self._port = port
        self._target = target
        self._changed = threading.Condition()
        self._running = CLIENTS
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    def until_target(self) -> None:
        with self._changed:
            reached = self._changed.wait_for(
                lambda: len(self.completed) >= self._target or not self._running, timeout=60
            )
            if not reached:
                self._enough.set()
            assert reached, f"{len(self.completed)} of {self._target} calls in a minute"
            assert self._running, "the clients gave up before the target"

    def _call(self, number: int) -> None:
        body = json.dumps(
            {"model": "ok", "stream": number % 2 == 0, "messages": [{"role": "user", "content": "x" * 500}]}
        )
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not self._enough.is_set():
                connection.request("POST", "/v1/chat/completions", body)
                response = connection.getresponse()
                answer = response.read()
                if response.status == 200 and (b"[DONE]" in answer or answer.endswith(b"}")):
                    with self._changed:
                        self.completed.append(response.headers["x-breakeven-call-id"])
                        self._changed.notify_all()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


def write_configuration(folder: Path, fake: Upstream, durability: str) -> Path:
    file = folder / "breakeven.toml"
    file.write_text(
        f'[providers.house]\nbase_url = "{fake.url}"\n[models.ok]\nprovider = "house"\nmodel = "ok"\n'
        f'[ledger]\ndurability = "{durability}"\n'
    )
    return file


def kill_under_load(home: Path, file: Path, kills: int, seed: int) -> list[str]:
    """Kill the gateway again and again; returns the ids of all calls that clients received whole."""
    chance = random.Random(seed)
    completed: list[str] = []
    for _ in range(kills):
        with gateway_process(home, file) as (process, port), Load(port, chance.randint(1, 40)) as load:
            load.until_target()
            os.kill(process.pid, signal.SIGKILL)
        completed += load.completed
    return completed


def booked_ids(home: Path) -> list[str]:
    ledger = Ledger.open(config.LedgerSettings(), home)
    try:
        assert ledger.flush(30)
    finally:
        ledger.close()
    return [call.id for call in booked_calls(home)]


@pytest.mark.slow
def test_fifty_kills_lose_no_completed_call_and_double_none(tmp_path: Path, fake: Upstream) -> None:
    file = write_configuration(tmp_path, fake, "before_last_byte")
    completed = kill_under_load(tmp_path, file, kills=50, seed=1)
    booked = booked_ids(tmp_path)
    assert len(completed) > 500
    assert set(completed) - set(booked) == set()
    assert len(booked) == len(set(booked))


@pytest.mark.slow
def test_the_harness_sees_losses_when_the_guarantee_is_switched_off(tmp_path: Path, fake: Upstream) -> None:
    file = write_configuration(tmp_path, fake, "batched")
    lost: set[str] = set()
    for attempt in range(10):
        completed = kill_under_load(tmp_path, file, kills=1, seed=attempt)
        lost |= set(completed) - set(booked_ids(tmp_path))
        if lost:
            break
    assert lost, "ten kills without the guarantee lost nothing: this harness would not see a broken ledger"
