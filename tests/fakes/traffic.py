"""Callers in bulk: many calls at once over raw sockets, some of which leave in the middle of their answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Wish:
    """One call; with ``leave_after`` its caller hangs up once so many bytes of the answer are there."""

    path: str
    document: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    leave_after: int | None = None


@dataclass(frozen=True)
class Got:
    """What came back; ``status`` is 0 when nothing did, ``left`` says the caller hung up."""

    wish: Wish
    status: int
    headers: dict[str, str]
    body: bytes
    left: bool


async def call(url: str, wish: Wish) -> Got:
    """One call on a connection of its own.

    Raises:
        AssertionError: there was no answer, or no end of it.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await _exchange(url, wish)
    except TimeoutError:
        raise AssertionError(f"{wish} did not end within {PATIENCE_SECONDS} s") from None


async def _exchange(url: str, wish: Wish) -> Got:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = json.dumps(wish.document).encode()
    lines = [f"POST {wish.path} HTTP/1.1", "host: test", "connection: close", "content-type: application/json"]
    lines += [f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in wish.headers.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    received = b""
    try:
        while wish.leave_after is None or len(received) < wish.leave_after:
            chunk = await reader.read(65536)
            if not chunk:
                break
            received += chunk
        left = wish.leave_after is not None and len(received) >= wish.leave_after
    except ConnectionError:
        left = False
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Got(wish, int(first.split(" ", 2)[1]) if first else 0, headers, rest, left)


async def send_all(url: str, wishes: Iterable[Wish], *, concurrency: int) -> list[Got]:
    """All of them, so many at a time, in order."""
    waiting = iter(wishes)
    results: list[Got] = []

    async def caller() -> None:
        for wish in waiting:
            results.append(await call(url, wish))  # noqa: PERF401  shared by all callers

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return results
