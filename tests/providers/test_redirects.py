"""A redirect is never followed: it would carry a call's data, and the provider's key, to where nobody cleared them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import fake
from tests.gateway.test_providers import WAYS, Quick

from breakeven.errors import UpstreamError
from breakeven.providers.base import ProviderRequest
from breakeven.providers.http import HttpProvider

__all__ = ["fake"]


@pytest.fixture
def redirecting(fake: Upstream) -> Iterator[str]:
    """The address of a server that sends everybody on to the fake."""

    class Redirect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(307)
            self.send_header("location", f"{fake.url}/chat/completions")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_data_goes_to_the_address_of_the_configuration_and_nowhere_else(
    redirecting: str, fake: Upstream, way: str
) -> None:
    provider = HttpProvider("p", base_url=lambda: redirecting, locality="local", timeouts=Quick())
    request = ProviderRequest("/chat/completions", b'{"model": "ok"}')

    async def ask() -> None:
        try:
            if way == "plain":
                with pytest.raises(UpstreamError, match="not followed") as refused:
                    async with provider.send(request):
                        pass
                assert not refused.value.retryable
            else:
                async with provider._send_tls(f"{redirecting}{request.path}", request, {}) as reply:
                    assert reply.status == 307
        finally:
            await provider.close()

    asyncio.run(ask())
    assert fake.seen.bodies == []
