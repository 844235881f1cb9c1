"""Servers reached over HTTP, whatever dialect they speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Protocol

from pyreqwest import exceptions
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.response import Response

from breakeven.errors import EngineUnavailable, StreamCut, Unanswered, UpstreamError
from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import require
from breakeven.providers import plain_http
from breakeven.providers.base import Availability, ProviderRequest, Reply
from breakeven.providers.keyring import Key, KeyRing
from breakeven.wire.request import Dialect


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


REDIRECTS = (301, 302, 303, 307, 308)
ANTHROPIC_VERSION = "2023-06-01"
"""Sent to servers of the Anthropic dialect when the caller names no version."""


class HttpProvider:
    """A server below ``base_url``.

    Args:
        base_url: called for each request, since the embedded engine changes its port when it restarts.
        keys: its API keys; their values go into the header that its dialect names and nowhere else.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: Callable[[], str],
        locality: Locality,
        timeouts: Timeouts,
        catalog: str | None = None,
        keys: KeyRing | None = None,
        is_engine: bool = False,
        dialects: tuple[Dialect, ...] = ("openai",),
    ) -> None:
        self.name = name
        self.dialects = dialects
        self.locality = locality
        self.catalog = catalog
        self.is_engine = is_engine
        self._base_url = base_url
        self._keys = keys or KeyRing(name)
        self._timeouts = timeouts
        self._plain = plain_http.PlainClient(
            connect_seconds=timeouts.connect_seconds,
            first_byte_seconds=timeouts.first_byte_seconds,
            silence_seconds=timeouts.stall_seconds,
        )
        self._tls: Client | None = None
        self._in_flight = 0
        self._retired = False

    def availability(self) -> Availability:
        """Ready, as far as anybody knows."""
        return "ready"

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST and wait for the answer to begin; a key that is turned away hands over to the next one."""
        if self.locality != "local":
            require(request.clearance, self.name)
        if len(self._keys) > 1:
            return self._send_in_turns(request)
        return self._exchange(request, self._keys.take())

    @asynccontextmanager
    async def _send_in_turns(self, request: ProviderRequest) -> AsyncIterator[Reply]:
        for others in reversed(range(len(self._keys))):
            key = self._keys.take()
            async with self._exchange(request, key) as reply:
                rests = self._keys.note(key, reply.status, reply.header("retry-after"))
                if not rests or not others or self._keys.resting == len(self._keys):
                    yield reply
                    return

    async def retire(self) -> None:
        """Close once the last call in flight has ended."""
        self._retired = True
        if not self._in_flight:
            await self.close()

    def _headers(self, request: ProviderRequest, key: Key | None) -> dict[str, str]:
        headers = {"content-type": "application/json", **request.headers}
        if self.dialects[0] == "anthropic":
            headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
            if key is not None:
                headers["x-api-key"] = key.secret
        elif key is not None:
            headers["authorization"] = f"Bearer {key.secret}"
        return headers

    async def close(self) -> None:
        """Close pooled connections."""
        await self._plain.close()
        if self._tls is not None:
            await self._tls.close()

    @asynccontextmanager
    async def _exchange(self, request: ProviderRequest, key: Key | None) -> AsyncIterator[Reply]:
        url, headers = self._base_url() + request.path, self._headers(request, key)
        if key is not None and key.name is not None:
            request.asked_with(key.name)
        response = None
        self._in_flight += 1
        try:
            if not url.startswith("http://"):
                async with self._send_tls(url, request, headers) as reply:
                    self._check_place(reply)
                    yield reply
                return
            response = await self._plain.post(
                url, request.body, headers, resend=self.locality == "local", silence_seconds=request.silence_seconds
            )
            self._check_place(response)
            yield response
        except plain_http.ConnectFailed as error:
            raise self._unreachable(error.message) from error
        except plain_http.Silence as error:
            raise self._silent(request) if response is None else self._cut(error.message) from error
        except plain_http.BrokenOff as error:
            raise self._broke_off(error.message) if response is None else self._cut(error.message) from error
        finally:
            if response is not None:
                self._plain.release(response)
            self._in_flight -= 1
            if self._retired and not self._in_flight:
                await self.close()

    @asynccontextmanager
    async def _send_tls(self, url: str, outgoing: ProviderRequest, headers: dict[str, str]) -> AsyncIterator[Reply]:
        if self._tls is None:
            idle = timedelta(seconds=plain_http.POOL_IDLE_SECONDS)
            connect = timedelta(seconds=self._timeouts.connect_seconds)
            builder = ClientBuilder().http1_only().follow_redirects(False).connect_timeout(connect)
            builder = builder.pool_idle_timeout(idle)
            self._tls = (builder.no_proxy() if self.locality == "local" else builder).build()
        request = self._tls.post(url).headers(headers).body_bytes(outgoing.body)
        # Without this limit the client would hold back the first 64 KiB of a stream.
        exchange = request.streamed_read_buffer_limit(0).build_streamed()
        try:
            async with asyncio.timeout(min(self._timeouts.first_byte_seconds, outgoing.silence_seconds)):
                response = await exchange.__aenter__()
        except TimeoutError as error:
            raise self._silent(outgoing) from error
        except exceptions.ConnectError as error:
            raise self._unreachable(_cause(error)) from error
        except exceptions.RequestError as error:
            raise self._broke_off(_cause(error)) from error
        try:
            stall_seconds = min(self._timeouts.stall_seconds, outgoing.silence_seconds)
            yield _TlsReply(response, stall_seconds, self._cut)
        finally:
            await exchange.__aexit__(None, None, None)

    def _check_place(self, reply: Reply) -> None:
        """Refuse to be sent on: data and key go where the configuration says and nowhere else."""
        if reply.status in REDIRECTS:
            error = UpstreamError(
                f"{self.name} sends calls on to {reply.header('location')}, which is not followed",
                remedy=f"If calls shall go there, say so in providers.{self.name}.base_url.",
            )
            error.retryable = False
            raise error

    def _unreachable(self, cause: str) -> UpstreamError:
        kind = EngineUnavailable if self.locality == "local" else UpstreamError
        return kind(
            f"{self.name} cannot be reached at {self._base_url()}: {cause}",
            remedy="Check that it runs; the call can be sent again.",
        )

    def _silent(self, request: ProviderRequest) -> UpstreamError:
        if request.silence_seconds < self._timeouts.first_byte_seconds:
            return Unanswered(f"{self.name} sent no byte within {request.silence_seconds:g} s")
        return Unanswered(
            f"{self.name} sent no byte within {self._timeouts.first_byte_seconds:g} s",
            remedy=f"Raise providers.{self.name}.first_byte_seconds, or look at that server's load.",
        )

    def _broke_off(self, cause: str) -> UpstreamError:
        kind = EngineUnavailable if self.is_engine else Unanswered
        return kind(f"{self.name} broke off before it answered: {cause}", remedy="The call can be sent again.")

    def _cut(self, cause: str) -> StreamCut:
        return StreamCut(f"{self.name} broke off its answer: {cause}", remedy="The call can be sent again.")


class _TlsReply:
    __slots__ = ("_cut", "_response", "_stall_seconds", "status")

    def __init__(self, response: Response, stall_seconds: float, cut: Callable[[str], StreamCut]) -> None:
        self._response = response
        self._stall_seconds = stall_seconds
        self._cut = cut
        self.status = response.status

    def header(self, name: str) -> str | None:
        return self._response.get_header(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        read_chunk = self._response.body_reader.read_chunk
        try:
            while True:
                async with asyncio.timeout(self._stall_seconds):
                    chunk = await read_chunk()
                if chunk is None:
                    return
                yield bytes(chunk)
        except TimeoutError as error:
            raise self._cut(f"nothing arrived for {self._stall_seconds:g} s") from error
        except exceptions.RequestError as error:
            raise self._cut(_cause(error)) from error


def _cause(error: exceptions.DetailedPyreqwestError) -> str:
    causes = error.details.get("causes") or []
    return causes[-1]["message"] if causes else error.message
