"""OpenAI-compatible servers over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

from pyreqwest import exceptions
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.response import Response

from breakeven.errors import EngineUnavailable, StreamCut, UpstreamError
from breakeven.ledger.records import Locality

POOL_IDLE = timedelta(seconds=4)
"""llama.cpp and others close idle connections after 5 s; ours go first, so no call lands on a closing one."""


class Timeouts(Protocol):
    """The three waits of an exchange, in seconds."""

    @property
    def connect_seconds(self) -> float:
        """To connect."""
        ...

    @property
    def first_byte_seconds(self) -> float:
        """From the request to the first byte of the answer."""
        ...

    @property
    def stall_seconds(self) -> float:
        """Longest silence within the answer."""
        ...


def new_client(connect_seconds: float, *, direct: bool) -> Client:
    """A connection pool for one server; ``direct`` ones are never reached through the environment's proxy."""
    builder = ClientBuilder().http1_only().connect_timeout(timedelta(seconds=connect_seconds))
    builder = builder.pool_idle_timeout(POOL_IDLE)
    return (builder.no_proxy() if direct else builder).build()


class HttpReply:
    """A streamed HTTP response."""

    __slots__ = ("_name", "_response", "_stall_seconds", "status")

    def __init__(self, response: Response, name: str, stall_seconds: float) -> None:
        self._response = response
        self._name = name
        self._stall_seconds = stall_seconds
        self.status = response.status

    def header(self, name: str) -> str | None:
        """A response header."""
        return self._response.get_header(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        read_chunk = self._response.body_reader.read_chunk
        try:
            while True:
                async with asyncio.timeout(self._stall_seconds):
                    chunk = await read_chunk()
                if chunk is None:
                    return
                yield bytes(chunk)
        except TimeoutError as error:
            raise StreamCut(f"{self._name} fell silent for {self._stall_seconds:g} s in mid-answer") from error
        except exceptions.RequestError as error:
            raise StreamCut(f"{self._name} broke off its answer: {_cause(error)}") from error


class OpenAICompatible:
    """A server that speaks the OpenAI dialect below ``base_url``.

    Args:
        base_url: called for each request, since the embedded engine changes its port when it restarts.
        secret: called for each request; its value goes into the Authorization header and nowhere else.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: Callable[[], str],
        locality: Locality,
        timeouts: Timeouts,
        catalog: str | None = None,
        secret: Callable[[], str | None] = lambda: None,
        is_engine: bool = False,
    ) -> None:
        self.name = name
        self.locality = locality
        self.catalog = catalog
        self.is_engine = is_engine
        self._base_url = base_url
        self._secret = secret
        self._timeouts = timeouts
        self._client = new_client(timeouts.connect_seconds, direct=locality == "local")

    @asynccontextmanager
    async def send(self, path: str, body: bytes) -> AsyncIterator[HttpReply]:
        """POST ``body`` and wait for the answer to begin."""
        request = self._client.post(self._base_url() + path).header("content-type", "application/json")
        if (secret := self._secret()) is not None:
            request = request.bearer_auth(secret)
        # Without this limit the client would hold back the first 64 KiB of a stream.
        exchange = request.body_bytes(body).streamed_read_buffer_limit(0).build_streamed()
        try:
            async with asyncio.timeout(self._timeouts.first_byte_seconds):
                response = await exchange.__aenter__()
        except TimeoutError as error:
            waited = self._timeouts.first_byte_seconds
            raise UpstreamError(
                f"{self.name} sent no byte within {waited:g} s",
                remedy=f"Raise providers.{self.name}.first_byte_seconds, or look at that server's load.",
            ) from error
        except exceptions.ConnectError as error:
            kind = EngineUnavailable if self.locality == "local" else UpstreamError
            raise kind(
                f"{self.name} cannot be reached at {self._base_url()}: {_cause(error)}",
                remedy="Check that it runs; the call can be sent again.",
            ) from error
        except exceptions.RequestError as error:
            raise UpstreamError(f"{self.name} broke off before it answered: {_cause(error)}") from error
        try:
            yield HttpReply(response, self.name, self._timeouts.stall_seconds)
        finally:
            await exchange.__aexit__(None, None, None)

    async def close(self) -> None:
        """Close pooled connections."""
        await self._client.close()


def _cause(error: exceptions.DetailedPyreqwestError) -> str:
    causes = error.details.get("causes") or []
    return causes[-1]["message"] if causes else error.message
