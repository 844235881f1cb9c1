"""Which upstream HTTP client should sit behind the gateway's one seam? aiohttp, pyreqwest, or our lean one.

Each candidate is served by the same plain ASGI relay under uvicorn (uvloop, httptools), in front of
the same mock upstream; runs are interleaved so that drift of the machine hits both alike.

    pip install aiohttp
    python benchmarks/upstream_client.py --requests 20000
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from load import cpu_seconds, drive, request_bytes, resident_bytes
from processes import HERE, free_port, wait_for

Send = Callable[[dict[str, Any]], Awaitable[None]]


def relay(client_name: str, upstream: str) -> Any:
    """A plain ASGI relay: read the body, forward it, copy the chunks back."""
    state: dict[str, Any] = {}

    async def aiohttp_forward(body: bytes, send: Send) -> None:
        import aiohttp

        if "session" not in state:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)
            state["session"] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        async with state["session"].post(upstream, data=body) as response:
            await send({"type": "http.response.start", "status": response.status, "headers": []})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def pyreqwest_forward(body: bytes, send: Send) -> None:
        from datetime import timedelta

        from pyreqwest.client import ClientBuilder

        if "session" not in state:
            state["session"] = ClientBuilder().pool_idle_timeout(timedelta(seconds=4)).http1_only().build()
        request = state["session"].post(upstream).body_bytes(body).streamed_read_buffer_limit(0).build_streamed()
        async with request as response:
            await send({"type": "http.response.start", "status": response.status, "headers": []})
            while (chunk := await response.body_reader.read_chunk()) is not None:
                await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def plain_forward(body: bytes, send: Send) -> None:
        from breakeven.providers.plain_http import PlainClient

        if "session" not in state:
            state["session"] = PlainClient(connect_seconds=5, first_byte_seconds=300, silence_seconds=120)
        response = await state["session"].post(upstream, body, {"content-type": "application/json"})
        await send({"type": "http.response.start", "status": response.status, "headers": []})
        async for chunk in response.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        state["session"].release(response)
        await send({"type": "http.response.body", "body": b""})

    forward = {"aiohttp": aiohttp_forward, "pyreqwest": pyreqwest_forward, "plain_http": plain_forward}[client_name]

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await forward(body, send)

    return app


def serve(client_name: str, port: int, upstream_port: int) -> None:
    """Child process: run the relay until killed."""
    import uvicorn

    app = relay(client_name, f"http://127.0.0.1:{upstream_port}/v1/chat/completions")
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error", lifespan="off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="requests a run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--serve", nargs=3, metavar=("CLIENT", "PORT", "UPSTREAM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), int(options.serve[2]))
        return

    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    upstream_port = free_port()
    children = [subprocess.Popen([sys.executable, str(HERE / "upstream_mock.py"), str(upstream_port)])]
    relays: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    try:
        wait_for(upstream_port)
        for name in ("aiohttp", "pyreqwest", "plain_http"):
            port = free_port()
            command = [sys.executable, __file__, "--serve", name, str(port), str(upstream_port)]
            child = subprocess.Popen(command, env=environment)
            children.append(child)
            relays[name] = child, port
            wait_for(port)
        figures: dict[tuple[str, bool], list[tuple[float, float, float]]] = {}
        for _ in range(options.rounds):
            for stream in (False, True):
                for name, (child, port) in relays.items():
                    request = request_bytes("/v1/chat/completions", stream=stream)
                    drive(port, request, concurrency=options.concurrency, requests=500)
                    before = cpu_seconds(child.pid)
                    result = drive(port, request, concurrency=options.concurrency, requests=options.requests)
                    cpu = (cpu_seconds(child.pid) - before) / result.requests * 1e6
                    assert result.failures == 0, f"{name}: {result.failures} failures"
                    figures.setdefault((name, stream), []).append(
                        (cpu, result.per_second, result.percentile(0.99) * 1e3)
                    )
        print(f"{'client':10} {'answer':7} {'CPU us/req':>10} {'req/s':>8} {'p99 ms':>8} {'RSS MB':>7}")
        for (name, stream), rows in figures.items():
            cpu, rate, p99 = (statistics.median(column) for column in zip(*rows, strict=True))
            rss = resident_bytes(relays[name][0].pid) / 1e6
            print(f"{name:10} {'stream' if stream else 'plain':7} {cpu:10.0f} {rate:8.0f} {p99:8.2f} {rss:7.0f}")
    finally:
        for child in children:
            child.kill()


if __name__ == "__main__":
    main()
