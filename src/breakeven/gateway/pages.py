"""Web pages that call: which may, and which may read what they get.

A browser sends requests to this machine for any page that asks it to. Where calls take a key that does no harm, since
no page has one. Where they take none, the page is told by what a browser alone sends and no page can change:

1. **Host**: a name that anybody could have pointed at this machine (DNS rebinding) is refused. Addresses, names without
   a dot, ``*.localhost`` and ``*.internal`` (Docker's for its host) are in nobody's gift.
2. **Origin**: a page from elsewhere is refused, unless ``gateway.allowed_origins`` names it.

Pages named there may also read answers: they get the headers of CORS, with keys and without. Programs send no
``Origin`` and notice nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from breakeven.config.addresses import is_loopback
from breakeven.errors import ForeignPage
from breakeven.gateway.asgi import Headers, Message, Scope, Send, header

OWN_DOMAINS = (".localhost", ".internal")
PREFLIGHT_SECONDS = b"600"


def admit(scope: Scope, *, keyless: bool, allowed: Collection[str]) -> bytes | None:
    """The origin of a page that may read the answer; ``None`` for any other caller that may call.

    Args:
        keyless: whether anybody may call.
        allowed: ``gateway.allowed_origins``.

    Raises:
        ForeignPage: the caller is a page that may not.
    """
    origin = host = None
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = bytes(value)
        elif name == b"host":
            host = value.decode("latin-1")
    if keyless and host is not None and not _is_own(_name(host)) and _name(host) not in map(_host_of, allowed):
        raise ForeignPage(
            f"host = {host!r}: a name that others could point at this machine",
            remedy="Call by address (http://127.0.0.1:PORT), or make a key: `breakeven keys create NAME`.",
        )
    if origin is None:
        return None
    said = origin.decode("latin-1")
    if said in allowed:
        return origin
    if keyless and not is_loopback(_host_of(said)) and said.partition("://")[2] != host:
        raise ForeignPage(
            f"origin = {said!r}: a web page from elsewhere",
            remedy="If it may call, name it in gateway.allowed_origins.",
        )
    return None


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks whether a page may send what it wants to."""
    return scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None


async def answer_preflight(scope: Scope, send: Send) -> None:
    """Say yes; `readable` adds to whom."""
    asked = header(scope, b"access-control-request-headers") or ""
    headers: Headers = [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", asked.encode("latin-1")),
        (b"access-control-max-age", PREFLIGHT_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def readable(send: Send, origin: bytes) -> Send:
    """Let the page from ``origin`` read what is sent."""
    shown: Headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"origin"),
    ]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *shown]}
        await send(message)

    return sending


@lru_cache(maxsize=256)
def _name(host: str) -> str:
    return _host_of(f"//{host}")


@lru_cache(maxsize=256)
def _host_of(origin: str) -> str:
    try:
        return (urlsplit(origin).hostname or "").rstrip(".")
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _is_own(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(OWN_DOMAINS))
    return True
