"""A closed-loop HTTP load generator and the process accounting that goes with it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass

import httptools
import uvloop

RUN_SECONDS = 600
"""No run takes longer, unless an answer never comes."""


@dataclass(frozen=True)
class LoadResult:
    """Outcome of one run: latencies in seconds, sorted; failures are non-200 answers."""

    requests: int
    failures: int
    seconds: float
    latencies: tuple[float, ...]
    first_bytes: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]

    def first_byte_percentile(self, share: float) -> float:
        return self.first_bytes[min(len(self.first_bytes) - 1, int(share * len(self.first_bytes)))]


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, until: list[int], done: asyncio.Event) -> None:
        self.request, self.until, self.done = request, until, done
        self.latencies: list[float] = []
        self.first_bytes: list[float] = []
        self.failures = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        if self.until[0] <= 0:
            self.transport.close()
            return
        self.until[0] -= 1
        self.status = 0
        self.first = 0.0
        self.started = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter() - self.started

    def on_message_complete(self) -> None:
        self.latencies.append(time.perf_counter() - self.started)
        self.first_bytes.append(self.first)
        self.failures += self.status != 200
        self.parser = httptools.HttpResponseParser(self)
        asyncio.get_running_loop().call_soon(self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.failures += 1
        self.done.set()


def request_bytes(
    path: str, *, stream: bool, model: str = "mock", prompt_bytes: int = 1000, key: str = "benchmark"
) -> bytes:
    """One keep-alive chat completion request with a prompt of about ``prompt_bytes`` bytes."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "x" * prompt_bytes}],
            "max_tokens": 200,
            "stream": stream,
        }
    ).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nauthorization: Bearer {key}\r\n\r\n".encode() + body


async def _drive(port: int, request: bytes, concurrency: int, requests: int) -> LoadResult:
    loop = asyncio.get_running_loop()
    left = [requests]
    clients = []
    started = time.perf_counter()
    for _ in range(concurrency):
        done = asyncio.Event()
        client = _Client(request, left, done)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
        clients.append(client)
    async with asyncio.timeout(RUN_SECONDS):
        for client in clients:
            await client.done.wait()
    seconds = time.perf_counter() - started
    latencies = sorted(value for client in clients for value in client.latencies)
    first_bytes = sorted(value for client in clients for value in client.first_bytes)
    failures = sum(client.failures for client in clients)
    return LoadResult(len(latencies), failures, seconds, tuple(latencies), tuple(first_bytes))


def drive(port: int, request: bytes, *, concurrency: int, requests: int) -> LoadResult:
    """Send ``requests`` copies of ``request`` over ``concurrency`` connections, each waiting for its answer."""
    return uvloop.run(_drive(port, request, concurrency, requests))


def cpu_seconds(pid: int) -> float:
    """User plus system CPU seconds used so far by a process and its threads (Linux)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident set size of a process in bytes (Linux)."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
