"""An HTTP/1.1 server that can misbehave: cut connections, break promises of length, close its listener.

Servers made for use forbid just that, which is why this one is written on ``httptools`` directly.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import httptools

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 64 * 1024 * 1024
HeaderList: TypeAlias = Iterable[tuple[str, str]]


class Gone(Exception):
    """The caller's connection has ended."""


class Request:
    """A request that has arrived in full, and the ways to answer it."""

    def __init__(
        self,
        connection: _Connection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.keep_alive = keep_alive
        self.headers = headers
        self.body = body
        parts = urlsplit(target)
        self.path, self.query = parts.path, parts.query
        self._connection = connection

    @property
    def gone(self) -> bool:
        """Whether the caller has left, as far as is noticed."""
        return self._connection.lost.is_set()

    async def until_gone(self) -> None:
        """Wait for the caller to leave."""
        await self._connection.lost.wait()

    async def pause(self, seconds: float) -> None:
        """Wait, or be told at once that the caller left.

        Raises:
            Gone
        """
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self.until_gone()
            except TimeoutError:
                return
        if self.gone:
            raise Gone

    async def answer(self, status: int, body: bytes, headers: HeaderList = (), *, promise: int | None = None) -> None:
        """A whole answer; ``promise`` is the length announced when it is not the body's."""
        length = len(body) if promise is None else promise
        head = _head(status, [*headers, ("content-length", str(length)), *self._last()])
        await self._connection.send(head if self.method == "HEAD" else head + body)
        if promise is not None:
            self._connection.close()

    async def begin(self, status: int, headers: HeaderList) -> None:
        """Start a streamed answer."""
        await self._connection.send(_head(status, [*headers, ("transfer-encoding", "chunked"), *self._last()]))

    async def write(self, data: bytes) -> None:
        """One chunk of a streamed answer.

        Raises:
            Gone
        """
        await self._connection.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """The regular end of a streamed answer."""
        await self._connection.send(b"0\r\n\r\n")

    def _last(self) -> list[tuple[str, str]]:
        return [] if self.keep_alive else [("connection", "close")]

    def cut(self) -> None:
        """End the connection once what was written has left."""
        self._connection.close()


Handler: TypeAlias = Callable[[Request], Awaitable[None]]


class HttpServer:
    """Listens on loopback unless told otherwise, and answers by ``handler``."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._address: tuple[str, int] = ("", 0)
        self._reopening: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._address[1]

    async def listen(self, host: str, port: int) -> None:
        """Open the listener; port 0 lets the system choose.

        Raises:
            OSError: when the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, host, port, backlog=1024, reuse_address=True)
        self._address = (host, self._listener.sockets[0].getsockname()[1])

    def refuse(self, seconds: float) -> None:
        """Close the listener for a while: new connections are refused."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            self._reopening = asyncio.get_running_loop().create_task(self._reopen(listener, seconds))

    async def _reopen(self, listener: asyncio.Server, seconds: float) -> None:
        await _close(listener)
        await asyncio.sleep(seconds)
        await self.listen(*self._address)

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        if self._listener is not None:
            await _close(self._listener)
        working = [connection.working for connection in self._connections if connection.working is not None]
        for connection in self._connections:
            connection.abort()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    def _connect(self) -> _Connection:
        return _Connection(self._handler, self._connections)


async def _close(listener: asyncio.Server) -> None:
    """Close a listener once the connections that it has accepted have their transports.

    A transport that is made after its server has closed fails half-way and leaves its socket open.
    """
    loop = asyncio.get_running_loop()
    for listening in listener.sockets:
        loop.remove_reader(listening.fileno())
    try:
        await asyncio.sleep(0)
    finally:
        listener.close()


class _Connection(asyncio.Protocol):
    def __init__(self, handler: Handler, connections: set[_Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._waiting: list[Request] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()
        self.working: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._connections.discard(self)
        self.lost.set()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(_head(400, [("content-length", "0"), ("connection", "close")]))
            self.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body, self._size = b"", dict[str, str](), list[bytes](), 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > MOST_BODY_BYTES:
            self.abort()

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        target, keep_alive = self._target.decode("latin-1"), self._parser.should_keep_alive()
        request = Request(self, method, target, self._headers, b"".join(self._body), keep_alive=keep_alive)
        self._waiting.append(request)
        if self.working is None:
            self.working = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting and not self.lost.is_set():
                request = self._waiting.pop(0)
                await self._handler(request)
                if not request.keep_alive:
                    self.close()
        except Gone:
            return
        except Exception:
            log.exception("the simulated cloud has a fault of its own")
            self.abort()
        finally:
            self.working = None

    async def send(self, data: bytes) -> None:
        if self.lost.is_set() or self._transport.is_closing():
            raise Gone
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


def _head(status: int, headers: HeaderList) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
