"""A key that is turned away hands over to the next one within the same call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from breakeven.errors import RateLimited
from breakeven.providers.base import ProviderRequest
from breakeven.providers.http import HttpProvider
from breakeven.providers.keyring import Key, KeyRing

STATUS = {
    "sk-fine": 200,
    "sk-limited": 429,
    "sk-revoked": 401,
    "sk-elsewhere": 403,
    "sk-at-once": 429,
    "sk-also-at-once": 429,
}


class Server(ThreadingHTTPServer):
    seen: list[str]


class ByKey(BaseHTTPRequestHandler):
    """Answers each key as its name says."""

    server: Server

    def do_POST(self) -> None:
        key = self.headers["authorization"].removeprefix("Bearer ")
        self.server.seen.append(key)
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(STATUS[key])
        self.send_header("content-length", "2")
        self.send_header("retry-after", "0" if key.endswith("at-once") else "20")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), ByKey) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Timeouts:
    connect_seconds = first_byte_seconds = stall_seconds = 10.0


def ask(server: Server, *keys: str, calls: int = 1, told: list[str] | None = None) -> list[int]:
    async def work() -> list[int]:
        url = f"http://127.0.0.1:{server.server_port}"
        ring = KeyRing("cloud", [Key(f"env:{key.removeprefix('sk-').upper()}", key) for key in keys])
        asked_with = [].append if told is None else told.append
        provider = HttpProvider("cloud", base_url=lambda: url, locality="local", timeouts=Timeouts(), keys=ring)
        statuses = []
        for _ in range(calls):
            async with provider.send(ProviderRequest("/chat/completions", b"{}", asked_with=asked_with)) as reply:
                statuses.append(reply.status)
        await provider.close()
        return statuses

    return asyncio.run(work())


def test_the_next_key_answers_and_the_one_turned_away_is_not_asked_again(server: Server) -> None:
    told: list[str] = []
    assert ask(server, "sk-limited", "sk-revoked", "sk-fine", calls=3, told=told) == [200, 200, 200]
    assert told == ["env:LIMITED", "env:REVOKED", "env:FINE", "env:FINE", "env:FINE"]
    assert server.seen == ["sk-limited", "sk-revoked", "sk-fine", "sk-fine", "sk-fine"]


def test_when_every_key_is_turned_away_the_last_answer_stands_and_then_nobody_is_asked(server: Server) -> None:
    assert ask(server, "sk-revoked", "sk-limited") == [429]
    with pytest.raises(RateLimited, match="all 2 keys"):
        ask(server, "sk-revoked", "sk-limited", calls=2)


def test_keys_that_need_no_rest_are_each_asked_once_a_call(server: Server) -> None:
    assert ask(server, "sk-at-once", "sk-also-at-once") == [429]
    assert server.seen == ["sk-at-once", "sk-also-at-once"]


@pytest.mark.parametrize(("keys", "status"), [(["sk-limited"], 429), (["sk-elsewhere", "sk-fine"], 403)])
def test_an_answer_that_another_key_would_not_change_stands(server: Server, keys: list[str], status: int) -> None:
    assert ask(server, *keys) == [status]
    assert len(server.seen) == 1
