"""A scripted model server on a real socket. The model a request asks for chooses what happens to it.

``ok`` answers; ``ok-json`` ignores the wish for a stream; the other names are faults, each described in ``_FAULTS``.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 40,
    "total_tokens": 1040,
    "prompt_tokens_details": {"cached_tokens": 600},
}
WORDS = ("one ", "two ", "three")


@dataclass
class Seen:
    """What the server saw."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    client_left: threading.Event = field(default_factory=threading.Event)


@dataclass
class Upstream:
    """A running fake: its address, what it saw, and the gate that ``gated`` answers wait at."""

    url: str
    seen: Seen
    gate: threading.Event


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _chunk(model: str, **fields: Any) -> bytes:
    return _event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, **fields})


def _delta(model: str, delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    return _chunk(model, choices=[{"index": index, "delta": delta, "finish_reason": finish}])


def stream(model: str) -> list[bytes]:
    """The events of a good answer; of two, one after the other, by a model named ``two-choices``."""
    served = f"{model}-served"
    words = [_delta(served, {"content": word}) for word in WORDS]
    ending = [_delta(served, {}, "stop"), _chunk(served, choices=[], usage=USAGE), b"data: [DONE]\n\n"]
    first = [_delta(served, {"role": "assistant", "content": ""}), *words]
    if model.startswith("two-choices"):
        second = [_delta(served, {"content": "four"}, index=1), _delta(served, {}, "stop", index=1)]
        ending = [ending[0], *([] if model == "two-choices-cut" else second + ending[1:])]
    return [*first, *ending]


def _completion(model: str) -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    document = {"id": "c", "object": "chat.completion", "created": 1, "model": f"{model}-served"}
    return json.dumps({**document, "choices": [choice], "usage": USAGE}).encode()


def _error(code: str, message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": code, **more}}).encode()


_CONTEXT = _error("exceed_context_size_error", "too long", n_prompt_tokens=9000, n_ctx=4096)
_FAULTS: dict[str, tuple[int, bytes, str]] = {
    "rate-limited": (429, _error("rate_limit_exceeded", "slow down"), "retry-after: 7\r\n"),
    "overloaded": (503, _error("unavailable", "loading model"), ""),
    "broken": (500, b"<html>oops</html>", ""),
    "unauthorized": (401, _error("invalid_api_key", "wrong key sk-secret"), ""),
    "bad-parameter": (400, _error("invalid_value", "temperature must be below 2"), ""),
    "too-long": (400, _CONTEXT, ""),
    "no-embeddings": (501, _error("not_supported_error", "start it with --embeddings"), ""),
}


class _Server:
    def __init__(self, seen: Seen, gate: threading.Event) -> None:
        self.seen = seen
        self.gate = gate
        self.connections: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._handle(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                document = json.loads(body or b"{}")
                self.seen.paths.append(lines[0].split()[1])
                self.seen.headers.append(headers)
                self.seen.bodies.append(document)
                await self._answer(document, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.seen.client_left.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(
        self, document: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        model = str(document.get("model"))
        if model in _FAULTS:
            status, body, extra = _FAULTS[model]
            _whole(writer, status, body, extra)
        elif "input" in document and model == "silent-embedder":
            await reader.read()
        elif "input" in document:
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            _whole(writer, 200, json.dumps({"object": "list", "data": data, "model": model, "usage": usage}).encode())
        elif model == "ok-json":
            _whole(writer, 200, _completion(model))
        elif model == "hang-up":
            raise ConnectionResetError
        else:
            await self._stream(model, reader, writer)

    async def _stream(self, model: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if model.startswith("silent"):
            await asyncio.get_running_loop().run_in_executor(None, self.gate.wait)
            if model == "silent-cut":
                raise ConnectionResetError
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for index, event in enumerate(stream(model)):
            if index == 3:
                if model == "cut":
                    await writer.drain()
                    raise ConnectionResetError
                if model == "ends-early":
                    break
                if model == "error-inside":
                    event = _event({"error": {"message": "out of memory", "code": 500}})
                if model == "malformed":
                    event = b"data: {not json\n\n"
                if model == "endless":
                    await writer.drain()
                    await reader.read(1)
                    raise ConnectionResetError
                if model == "gated":
                    await writer.drain()
                    await asyncio.get_running_loop().run_in_executor(None, self.gate.wait)
            if model == "no-usage" and b'"usage"' in event:
                continue
            _write_chunk(writer, event)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, extra: str = "") -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


@contextmanager
def running() -> Iterator[Upstream]:
    """A fake server for the length of a test."""
    seen, gate = Seen(), threading.Event()
    ready = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        handler = _Server(seen, gate)
        server = await asyncio.start_server(handler.serve, "127.0.0.1", 0)
        state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
        state["port"] = server.sockets[0].getsockname()[1]
        ready.set()
        await state["stop"].wait()
        server.close()
        for connection in handler.connections:
            connection.cancel()
        await asyncio.gather(*handler.connections, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield Upstream(f"http://127.0.0.1:{state['port']}/v1", seen, gate)
    finally:
        gate.set()
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(10)
