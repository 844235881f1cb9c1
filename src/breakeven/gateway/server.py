"""Running the gateway under uvicorn: its socket, its signals, its orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from breakeven.errors import InputError
from breakeven.gateway.app import Gateway

BACKLOG = 1024
BOOKING_SECONDS = 10.0
"""How long calls that are cut short at the end may take to be booked: a database in trouble answers or fails sooner."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it exists, the standard loop on Windows."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: when the address is taken or cannot be bound, with what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise InputError(
            f"gateway.host = {host!r}, gateway.port = {port}: cannot listen there: {error.strerror or error}",
            remedy="Stop what holds the port, or choose another with --port.",
        ) from error
    return listener


class GatewayServer(uvicorn.Server):
    """uvicorn, stopped by us: it must end before the engine and the ledger do, not end the process."""

    def __init__(self, app: Gateway, shutdown_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
            )
        )
        self._asked_to_stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to :meth:`running`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, and wait until the calls that it cuts short are in the books.

        uvicorn tells them to stop and goes on, on a second signal without even that, and the books would be closed
        under them.
        """
        await super().shutdown(sockets)
        calls = set(self.server_state.tasks)
        for call in calls:
            if not call.cancelling():  # telling it again would interrupt its booking
                call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=BOOKING_SECONDS)

    @asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on ``listener`` until left; calls in flight get the configured time to finish."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        serving = loop.create_task(self.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: self._asked_to_stop.set())
        try:
            yield
        finally:
            self.should_exit = True
            await serving
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def until_stopped(self) -> None:
        """Wait for SIGINT or SIGTERM."""
        await self._asked_to_stop.wait()

    async def unless_stopped(self, work: asyncio.Task[None]) -> None:
        """Wait for ``work``, or for the signal to stop, whichever comes first; errors of ``work`` are raised."""
        stop = asyncio.ensure_future(self._asked_to_stop.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            work.result()

    def _stop(self) -> None:
        if self._asked_to_stop.is_set():
            self.force_exit = True
        self._asked_to_stop.set()
