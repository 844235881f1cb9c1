"""A stream to a model that is not ready yet gets its headers at once and is kept alive until words come."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO

from breakeven.gateway.booking import Booking
from breakeven.gateway.delivery import Delivery

Serve = Callable[..., RunningGateway]


def open_stream(gateway: RunningGateway, model: str) -> socket.socket:
    """A streamed call of which the answer is read by hand."""
    host, port = gateway.url.removeprefix("http://").split(":")
    body = json.dumps({"model": model, "messages": HELLO, "stream": True}).encode()
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def read_until(connection: socket.socket, words: bytes, seen: bytes = b"") -> bytes:
    while words not in seen:
        seen += (more := connection.recv(65536))
        assert more, seen
    return seen


def test_headers_and_heartbeats_come_before_words(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="silent", gateway={"heartbeat_seconds": 0.05}), KEYS)
    with open_stream(gateway, "local") as connection:
        seen = read_until(connection, b": waiting for the model")
        assert b"200 OK" in seen
        assert b"x-breakeven-call-id" in seen
        assert b"one " not in seen
        fake.gate.set()
        seen = read_until(connection, b"[DONE]", seen)
    assert b": x-breakeven-served-by=house/silent" in seen
    assert seen.index(b"served-by") < seen.index(b"one ")
    assert seen.index(b"three") < seen.index(b"x-breakeven-cost-usd") < seen.index(b"[DONE]")


def test_a_stream_kept_alive_still_falls_back(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(
        desk(
            sky, fake, local="silent-cut", gateway={"heartbeat_seconds": 0.05},
            tasks={"tag": {"stream": "pass"}},
        ),
        KEYS,
    )  # fmt: skip
    with open_stream(gateway, "task:tag") as connection:
        seen = read_until(connection, b": waiting for the model")
        fake.gate.set()
        seen = read_until(connection, b"[DONE]", seen)
    assert b": x-breakeven-served-by=gpt/" in seen
    assert [attempt.outcome for attempt in gateway.calls()[0].attempts] == ["failed", "completed"]


def test_a_stream_kept_alive_fails_with_an_error_event(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="silent-cut", gateway={"heartbeat_seconds": 0.05}), KEYS)
    with open_stream(gateway, "local") as connection:
        read_until(connection, b": waiting for the model")
        fake.gate.set()
        seen = read_until(connection, b'"error"')
    assert b"broke off" in seen
    assert gateway.calls()[0].outcome == "failed"


def test_a_caller_who_leaves_while_a_heartbeat_is_stuck_ends_the_call_in_peace() -> None:
    async def main() -> None:
        stuck = asyncio.Event()

        async def send(_: Any) -> None:
            stuck.set()
            await asyncio.Future()

        booking = cast("Booking", SimpleNamespace(headers=lambda *_: []))
        delivery = Delivery(send, "openai", booking, stream=True, heartbeat=60)
        delivery.keep_alive(at_once=True)
        await asyncio.wait_for(stuck.wait(), 10)
        words = asyncio.ensure_future(delivery.pass_on(b"data: x\n\n", cast("Any", None), ""))
        await asyncio.sleep(0)
        words.cancel()
        await asyncio.gather(words, return_exceptions=True)
        await delivery.stop()

    asyncio.run(main())
