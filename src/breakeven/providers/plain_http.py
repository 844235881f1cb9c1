"""A lean HTTP/1.1 client for servers reached without TLS, which is how model servers on one's own machines are reached.

The hop to the local engine is on the path of every call; here it costs about a third of what a full HTTP client does
(``benchmarks/upstream_client.py``). Servers behind TLS go through ``pyreqwest`` instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from math import inf
from typing import cast
from urllib.parse import urlsplit

import httptools

from breakeven.errors import BreakevenError

POOL_IDLE_SECONDS = 4.0
"""llama.cpp and others close idle connections after 5 s; ours go first, so that no call lands on a closing one."""
MOST_BUFFERED_BYTES = 1024 * 1024
"""A reader that falls behind by this much stops the server's sending."""


class ConnectFailed(BreakevenError):
    """No connection could be made."""


class BrokenOff(BreakevenError):
    """The connection ended before the answer did."""


class Silence(BreakevenError):
    """Nothing arrived in the time allowed."""


class Response:
    """An answer under way."""

    __slots__ = ("_headers", "_silence_seconds", "connection", "status")

    def __init__(self, connection: _Connection, silence_seconds: float) -> None:
        self.connection = connection
        self._silence_seconds = silence_seconds
        self._headers = connection.headers
        self.status = connection.status

    def header(self, name: str) -> str | None:
        """A response header, by name in any case."""
        value = self._headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            BrokenOff: the connection ended too early.
            Silence: nothing arrived for the time allowed.
        """
        connection = self.connection
        while True:
            if connection.body:
                yield connection.take()
            elif connection.complete:
                return
            else:
                await connection.more(self._silence_seconds)


class PlainClient:
    """A pool of connections to one server.

    Args:
        connect_seconds: time to connect.
        first_byte_seconds: time from the request to the head of the answer.
        silence_seconds: longest silence within the answer.
    """

    def __init__(self, *, connect_seconds: float, first_byte_seconds: float, silence_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds
        self._silence_seconds = silence_seconds
        self._idle: dict[tuple[str, int], deque[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def post(
        self, url: str, body: bytes, headers: dict[str, str], *, resend: bool = False, silence_seconds: float = inf
    ) -> Response:
        """POST and wait for the head of the answer; `release` ends the exchange.

        Args:
            resend: send again when a resting connection turns out to be closed. A server may close one at any moment,
                also this one, and then the request never reached it; but it may also have been served, and where
                calls cost money a second one would be paid for unseen.
            silence_seconds: longest silence before and within the answer, if that is less than usual.

        Raises:
            ConnectFailed, BrokenOff, Silence: before the answer has begun.
        """
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or 80)
        request = _head(parts.netloc, parts.path or "/", len(body), headers) + body
        rested = self._take_idle(address)
        if rested is not None:
            try:
                return await self._exchange(rested, request, silence_seconds)
            except BrokenOff:
                if rested.heard or not resend:
                    raise
        return await self._exchange(await self._connect(address), request, silence_seconds)

    async def _exchange(self, connection: _Connection, request: bytes, silence_seconds: float) -> Response:
        first_byte_seconds = min(self._first_byte_seconds, silence_seconds)
        connection.send(request)
        try:
            while not connection.head_complete:
                await connection.more(first_byte_seconds)
        except BaseException:
            connection.close()
            raise
        return Response(connection, min(self._silence_seconds, silence_seconds))

    def release(self, response: Response) -> None:
        """End an exchange: an answer that is complete leaves its connection for the next, another closes it."""
        connection = response.connection
        if connection.complete and connection.reusable:
            self._put_idle(connection)
        else:
            connection.close()

    async def close(self) -> None:
        """Close all connections and wait until they are gone."""
        self._idle.clear()
        gone = [connection.gone for connection in self._open]
        for connection in self._open:
            connection.close()
        await asyncio.gather(*gone)
        await asyncio.sleep(0)  # the loop releases a socket one turn after it has told of its end

    async def _connect(self, address: tuple[str, int]) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(lambda: _Connection(loop, address), *address)
        except TimeoutError as error:
            raise ConnectFailed(f"no connection within {self._connect_seconds:g} s") from error
        except OSError as error:
            raise ConnectFailed((error.strerror or str(error)).lower()) from error
        self._open.add(connection)
        connection.gone.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _take_idle(self, address: tuple[str, int]) -> _Connection | None:
        pool = self._idle.get(address)
        while pool:
            connection = pool.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    def _put_idle(self, connection: _Connection) -> None:
        pool = self._idle.setdefault(connection.address, deque())
        while pool and not pool[0].usable():
            pool.popleft().close()
        connection.rest()
        pool.append(connection)


class _Connection(asyncio.Protocol):
    """One connection, and the answer it is receiving."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int]) -> None:
        self.address = address
        self._loop = loop
        self.gone = loop.create_future()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._lost: str | None = None
        self._rested_at = 0.0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # create_connection makes no other

    def send(self, request: bytes) -> None:
        """Begin a new exchange."""
        self._parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []
        self._buffered = 0
        self.headers: dict[bytes, bytes] = {}
        self.status = 0
        self.heard = self.head_complete = self.complete = self.reusable = False
        self._transport.write(request)

    async def more(self, timeout_seconds: float) -> None:
        """Wait until something has happened.

        Raises:
            BrokenOff, Silence
        """
        if self._lost is not None:
            raise BrokenOff(self._lost)
        self._waiter = waiter = self._loop.create_future()
        alarm = self._loop.call_later(timeout_seconds, _ring, waiter)
        try:
            await waiter
        except TimeoutError:
            raise Silence(f"nothing arrived for {timeout_seconds:g} s") from None
        finally:
            alarm.cancel()
            self._waiter = None

    def take(self) -> bytes:
        """The part of the body that has arrived."""
        data = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def rest(self) -> None:
        """The exchange is over; wait for the next."""
        self._rested_at = self._loop.time()

    def usable(self) -> bool:
        """Whether an idle connection is still open and young enough."""
        return self._lost is None and self._loop.time() - self._rested_at < POOL_IDLE_SECONDS

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lost = f"it does not speak HTTP: {error}"
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost is None:
            self._lost = str(exc) if exc is not None else "the connection was closed"
        if hasattr(self, "headers") and self.head_complete and not self.complete and self._ends_with_connection():
            self.complete = True
        self._wake()
        self.gone.set_result(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)
        self._buffered += len(body)
        if self._buffered > MOST_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    def _ends_with_connection(self) -> bool:
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _head(host: str, path: str, length: int, headers: dict[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "accept: */*", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
