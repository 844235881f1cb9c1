"""Both ways to reach a server say the same of what goes well and what goes wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from tests.fakes.upstream import Upstream

from breakeven.errors import BreakevenError, EngineUnavailable, StreamCut, Unanswered, UpstreamError
from breakeven.ledger.records import Locality
from breakeven.providers.base import ProviderRequest
from breakeven.providers.http import HttpProvider
from breakeven.routing.egress import clearance

WAYS = ["plain", "tls"]


@dataclass(frozen=True)
class Quick:
    connect_seconds: float = 2.0
    first_byte_seconds: float = 5.0
    stall_seconds: float = 5.0


def ask(way: str, url: str, model: str, timeouts: Quick | None = None, *, twice: bool = False) -> bytes:
    """The body of the answer, fetched the way a URL with or without TLS is (the fake server itself has none)."""

    async def main() -> bytes:
        provider = HttpProvider("p", base_url=lambda: url, locality="local", timeouts=timeouts or Quick())
        request = ProviderRequest("/chat/completions", f'{{"model": "{model}", "stream": true}}'.encode())
        answer = b""
        try:
            for _ in range(2 if twice else 1):
                if way == "plain":
                    async with provider.send(request) as reply:
                        assert reply.header("Content-Type")
                        answer = b"".join([chunk async for chunk in reply.chunks()])
                else:
                    headers = {"content-type": "application/json"}
                    async with provider._send_tls(f"{url}/chat/completions", request, headers) as reply:
                        assert reply.header("Content-Type")
                        answer = b"".join([chunk async for chunk in reply.chunks()])
        finally:
            await provider.close()
        return answer

    return asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_body_arrives_whole_and_the_connection_is_used_again(fake: Upstream, way: str) -> None:
    assert ask(way, fake.url, "ok", twice=True).endswith(b"data: [DONE]\n\n")
    assert len(fake.seen.bodies) == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [("cut", StreamCut, "broke off its answer"), ("hang-up", UpstreamError, "before")],
)
def test_a_broken_connection_is_told_by_when_it_broke(
    fake: Upstream, way: str, model: str, kind: type[BreakevenError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        ask(way, fake.url, model)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_not_there_is_named_with_its_address(way: str) -> None:
    with pytest.raises(EngineUnavailable, match=r"p cannot be reached at http://127\.0\.0\.1:9/v1"):
        ask(way, "http://127.0.0.1:9/v1", "ok")


@pytest.mark.parametrize("way", WAYS)
def test_silence_in_mid_answer_is_a_cut(fake: Upstream, way: str) -> None:
    with pytest.raises(StreamCut, match="nothing arrived for"):
        ask(way, fake.url, "gated", Quick(stall_seconds=0.2))


@pytest.mark.parametrize("locality", ["local", "remote"])
def test_a_resting_connection_that_the_server_closed_is_replaced_in_silence_only_where_that_is_free(
    locality: Locality,
) -> None:
    async def main() -> int:
        accepted = 0

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Promise to keep the connection, answer, and hang up when the next request comes."""
            nonlocal accepted
            accepted += 1
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
            await reader.read(1)
            writer.close()

        server = await asyncio.start_server(once, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        provider = HttpProvider("p", base_url=lambda: url, locality=locality, timeouts=Quick())
        permit = clearance("call", "shareable", locality)
        try:
            for _ in range(3):
                async with provider.send(ProviderRequest("/x", b"{}", clearance=permit)) as reply:
                    assert b"".join([chunk async for chunk in reply.chunks()]) == b"ok"
        finally:
            await provider.close()
            server.close()
        return accepted

    if locality == "local":
        assert asyncio.run(main()) == 3
    else:
        with pytest.raises(Unanswered):
            asyncio.run(main())


def test_something_that_is_no_http_server_is_told_so() -> None:
    async def main() -> None:
        async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        provider = HttpProvider("p", base_url=lambda: url, locality="local", timeouts=Quick())
        try:
            with pytest.raises(UpstreamError, match=r"does not speak HTTP|connection was closed"):
                async with provider.send(ProviderRequest("/x", b"{}")):
                    pass
        finally:
            await provider.close()
            server.close()

    asyncio.run(main())
