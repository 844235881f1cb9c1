"""Web pages: none from elsewhere reaches a gateway without keys, whatever tricks the browser can be made to play."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway, remote
from tests.gateway.test_chat import HELLO

Serve = Callable[..., RunningGateway]
BODY = json.dumps({"model": "ok", "messages": HELLO}).encode()
APP = "https://app.example"
KEY = "a-key-of-enough-characters"


def ask(gateway: RunningGateway, method: str = "POST", path: str = "/v1/chat/completions", **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = BODY if method == "POST" else None
    return httpx.request(method, gateway.url + path, content=body, headers=names, timeout=20)


ELSEWHERE = (
    "https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost@evil.example", ""
)  # fmt: skip
POINTED_HERE = ("rebound.example", "rebound.example:4141", "127.0.0.1.rebound.example", "[", "")
OURS = ("localhost:4141", "[::1]:4141", "192.168.1.7", "desk.localhost", "host.docker.internal:1", "macstudio")


def test_a_page_from_elsewhere_is_refused_and_nobody_asked(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    for origin in ELSEWHERE:
        answer = ask(gateway, origin=origin, content_type="text/plain")
        assert answer.status_code == 403, origin
        assert "allowed_origins" in answer.json()["error"]["remedy"]
        assert "access-control-allow-origin" not in answer.headers
    assert fake.seen.bodies == []


def test_a_name_that_was_pointed_here_reads_nothing(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    for host in POINTED_HERE:
        for path in ("/admin/decisions", "/admin", "/metrics", "/v1/models"):
            assert ask(gateway, "GET", path, host=host).status_code == 403, (host, path)


def test_programs_call_by_any_name_that_is_ours(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    for host in OURS:
        assert ask(gateway, host=host).status_code == 200, host


def test_pages_of_this_machine_may_call(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    assert ask(gateway, origin="http://localhost:3000").status_code == 200
    assert ask(gateway, origin="http://desk:80", host="desk:80").status_code == 200


@pytest.mark.parametrize("keys", [{}, {"page": {"secret": "env:PAGE_KEY"}}])
def test_a_page_that_is_named_asks_first_and_may_read(serve: Serve, fake: Upstream, keys: dict[str, Any]) -> None:
    document = remote(fake) | {"gateway": {"allowed_origins": [APP]}, "keys": keys}
    gateway = serve(document, {"PAGE_KEY": KEY})
    asked = ask(
        gateway, "OPTIONS", origin=APP,
        access_control_request_method="POST", access_control_request_headers="authorization,content-type",
    )  # fmt: skip
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == APP
    assert asked.headers["access-control-allow-headers"] == "authorization,content-type"
    answer = ask(gateway, origin=APP, authorization=f"Bearer {KEY}")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    refused = ask(gateway, path="/v1/nothing", origin=APP)
    assert refused.headers["access-control-allow-origin"] == APP


def test_with_keys_a_page_needs_one_and_another_cannot_read(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake) | {"keys": {"page": {"secret": "env:PAGE_KEY"}}}, {"PAGE_KEY": KEY})
    assert ask(gateway, origin="https://evil.example", host="desk.example").status_code == 401
    asked = ask(gateway, "OPTIONS", origin="https://evil.example", access_control_request_method="POST")
    assert asked.status_code == 405
    assert "access-control-allow-origin" not in asked.headers
