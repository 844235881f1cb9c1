"""What a server that speaks the OpenAI dialect says when it refuses, read into our errors."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from breakeven.errors import (
    BreakevenError,
    ContextExceeded,
    EngineUnavailable,
    RateLimited,
    RequestError,
    Unsupported,
    UpstreamError,
)

_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_INPUT_TOO_LONG = "too large to process"
"""llama.cpp's words, with status 500, for a text to embed that is longer than the context."""
_INPUT_UNSUPPORTED = "input is not supported"
"""llama.cpp's words, with status 500, for an image or a sound sent to a model that takes text alone."""
_NO_CREDIT = "insufficient_quota"
"""What OpenAI adds to status 429 when waiting will not help, but paying."""
_STATUS_OF_CODE = {"rate_limit_exceeded": 429, _NO_CREDIT: 429, "invalid_prompt": 400}
_SHOWN = 300


def read_error(provider: str, status: int, body: bytes, retry_after: str | None = None) -> BreakevenError:
    """The error that an answer with status 400 or more stands for.

    A fault of the request becomes a :class:`RequestError` with the server's own words; a fault between the
    gateway and the server (its key, its limits, its health) becomes an :class:`UpstreamError`.
    """
    details = _details(body)
    message = str(details.get("message") or body[:_SHOWN].decode("utf-8", "replace") or f"HTTP {status}")
    codes = {str(details.get("type")), str(details.get("code"))}
    if codes & _CONTEXT_CODES or _INPUT_TOO_LONG in message:
        return _context_exceeded(details, message)
    if status == 501 or (status == 500 and _INPUT_UNSUPPORTED in message):
        return Unsupported(f"{provider} does not support this: {message}")
    if status in (401, 402, 403) or _NO_CREDIT in codes:
        return account_error(provider, status, message)
    if status == 429:
        message = f"{provider} is limiting the rate: {message}"
        return RateLimited(message, retry_after_seconds=retry_seconds(retry_after))
    if status == 503:
        return EngineUnavailable(f"{provider} is not ready: {message}", remedy="Send the call again.")
    if 400 <= status < 500:
        error = RequestError(f"{provider} refused the request: {message}")
        error.status = status
        return error
    return UpstreamError(f"{provider} failed with HTTP {status}: {message}", remedy="The call can be sent again.")


def account_error(provider: str, status: int, message: str) -> UpstreamError:
    """The gateway's own key or account was refused. Words about a wrong key are kept back: some quote the key."""
    said = "" if status == 401 else f": {message}"
    error = UpstreamError(
        f"{provider} refused the gateway's credentials (HTTP {status}){said}", remedy=f"Check providers.{provider}.key."
    )
    error.retryable = False
    return error


def retry_seconds(retry_after: str | None) -> int | None:
    """A ``Retry-After`` in whole seconds, rounded up; ``None`` for none, or for a date."""
    try:
        return math.ceil(float(retry_after)) if retry_after else None
    except (ValueError, OverflowError):
        return None


def read_stream_error(provider: str, details: dict[str, Any]) -> BreakevenError:
    """The error that an error object in mid-stream stands for."""
    code = details.get("code")
    status = code if isinstance(code, int) else _STATUS_OF_CODE.get(str(code), 500)
    return read_error(provider, status, msgspec.json.encode({"error": details}))


def _details(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document.get("detail", document))
    return error if isinstance(error, dict) else {"message": error}


def _context_exceeded(details: dict[str, Any], message: str) -> ContextExceeded:
    prompt, context = details.get("n_prompt_tokens"), details.get("n_ctx")
    if isinstance(prompt, int) and isinstance(context, int):
        message = f"the prompt has {prompt} tokens, the model's context holds {context}"
    return ContextExceeded(message, remedy="Shorten the prompt, or serve the model with a larger context.")


_KINDS = {401: "authentication_error", 429: "rate_limit_error"}


def error_status(error: BreakevenError) -> int:
    """The HTTP status a client is given."""
    status: int = getattr(error, "status", 500)
    return status


def error_document(error: BreakevenError) -> dict[str, Any]:
    """An error in the OpenAI shape, with its cause and its remedy in the message and apart."""
    status = error_status(error)
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": str(error),
            "type": kind,
            "code": error.code,
            "param": None,
            "cause": error.message,
            "remedy": error.remedy or None,
        }
    }
