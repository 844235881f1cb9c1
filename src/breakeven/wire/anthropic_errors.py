"""Errors in the Anthropic dialect: read from a server that refuses, written for a client."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.errors import (
    BodyTooLarge,
    BreakevenError,
    ContextExceeded,
    EngineUnavailable,
    Overloaded,
    RateLimited,
    RequestError,
    UpstreamError,
)
from breakeven.wire.body import Json
from breakeven.wire.openai_errors import account_error, retry_seconds

OVERLOADED_STATUS = 529
_SHOWN = 300
_TOO_LONG = ("prompt is too long", "exceed context limit", "exceed the context window")
"""How the API words that prompt and limit do not fit; it has no code for it."""
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED_STATUS,
}
_TYPE_OF_STATUS = {status: kind for kind, status in _STATUS_OF_TYPE.items()}


def read_error(provider: str, status: int, body: bytes, retry_after: str | None = None) -> BreakevenError:
    """The error that an answer with status 400 or more stands for.

    A fault of the request becomes a :class:`RequestError` with the server's own words; a fault between the
    gateway and the server (its key, its limits, its health) becomes an :class:`UpstreamError`.
    """
    details = _details(body)
    message = str(details.get("message") or body[:_SHOWN].decode("utf-8", "replace") or f"HTTP {status}")
    seconds = retry_seconds(retry_after)
    if status == 400 and any(words in message for words in _TOO_LONG):
        return ContextExceeded(message, remedy="Shorten the prompt, or lower max_tokens.")
    if status == 413:
        return BodyTooLarge(f"{provider} refused the request: {message}", remedy="Send less.")
    match status:
        case 401 | 402 | 403:
            return account_error(provider, status, message)
        case 429:
            return RateLimited(f"{provider} is limiting the rate: {message}", retry_after_seconds=seconds)
        case 529:
            return Overloaded(f"{provider} is overloaded: {message}", retry_after_seconds=seconds)
        case 503:
            return EngineUnavailable(f"{provider} is not ready: {message}", remedy="Send the call again.")
    if 400 <= status < 500:
        error = RequestError(f"{provider} refused the request: {message}")
        error.status = status
        return error
    return UpstreamError(f"{provider} failed with HTTP {status}: {message}", remedy="The call can be sent again.")


def read_stream_error(provider: str, details: dict[str, Any]) -> BreakevenError:
    """The error that an error object in mid-stream stands for."""
    status = _STATUS_OF_TYPE.get(str(details.get("type")), 500)
    return read_error(provider, status, msgspec.json.encode({"error": details}))


def _details(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    error = document.get("error", document) if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {"message": error} if error else {}


def error_status(error: BreakevenError) -> int:
    """The HTTP status a client of this dialect is given; its SDKs know 529 for overload."""
    return OVERLOADED_STATUS if isinstance(error, Overloaded) else getattr(error, "status", 500)


def error_document(error: BreakevenError) -> Json:
    """An error in this dialect's shape; cause, code and remedy stand beside what the dialect knows."""
    status = error_status(error)
    fallback = "invalid_request_error" if status < 500 else "api_error"
    return {
        "type": "error",
        "error": {
            "type": _TYPE_OF_STATUS.get(status, fallback),
            "message": str(error),
            "code": error.code,
            "cause": error.message,
            "remedy": error.remedy or None,
        },
    }
