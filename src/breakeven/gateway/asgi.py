"""The ASGI vocabulary, and the few lines that answer with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from math import ceil
from typing import Any, TypeAlias

import msgspec

from breakeven.errors import (
    BodyTooLarge,
    BreakevenError,
    BudgetExhausted,
    EngineUnavailable,
    LedgerUnavailable,
    QueueUnavailable,
    RateExceeded,
    RateLimited,
)
from breakeven.wire.dialects import error_document, error_status
from breakeven.wire.request import Dialect

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
EVENT_STREAM: tuple[bytes, bytes] = (b"content-type", b"text/event-stream; charset=utf-8")
_encode = msgspec.json.Encoder().encode


class ClientLeft(Exception):
    """The caller closed the connection before it was answered."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole request body.

    Raises:
        BodyTooLarge: as soon as more than ``limit`` bytes are announced or have arrived.
        ClientLeft: when the caller goes away first.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(size, limit)
    return b"".join(parts)


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has {size} bytes or more, the limit is {limit}",
        remedy="Send less, or raise gateway.max_body_bytes.",
    )


def header(scope: Scope, name: bytes) -> str | None:
    """A request header by its lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


async def respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (JSON,)) -> None:
    """One whole answer."""
    all_headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def respond_json(
    send: Send, value: object, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """One JSON answer."""
    await respond(send, status, _encode(value), (JSON, *headers))


def gateway_fault() -> BreakevenError:
    """What a client is told when we are at fault; what happened is in the log and nowhere else."""
    return BreakevenError("the gateway has a fault", remedy="Its log has the details; please report them.")


def error_headers(error: BreakevenError) -> Headers:
    """Headers that go with an error: when to come back, for errors that pass."""
    retry_after: float | None = None
    if isinstance(error, RateLimited | BudgetExhausted | RateExceeded):
        retry_after = error.retry_after_seconds
    elif isinstance(error, EngineUnavailable | LedgerUnavailable | QueueUnavailable):
        retry_after = 1
    return [] if retry_after is None else [(b"retry-after", str(ceil(retry_after)).encode())]


async def respond_error(
    send: Send, error: BreakevenError, headers: Iterable[tuple[bytes, bytes]] = (), *, dialect: Dialect
) -> None:
    """An error as a whole answer in a dialect."""
    document, status = error_document(dialect, error), error_status(dialect, error)
    await respond_json(send, document, status, (*error_headers(error), *headers))
