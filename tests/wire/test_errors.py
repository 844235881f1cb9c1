"""Errors read from servers and written for clients, each in the shape that the dialect's SDK turns into its own."""

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from breakeven.errors import (
    BodyTooLarge,
    BreakevenError,
    ContextExceeded,
    EngineUnavailable,
    ModelNotFound,
    Overloaded,
    RateLimited,
    RequestError,
    StreamCut,
    Unauthorized,
    Unsupported,
    UpstreamError,
)
from breakeven.wire.dialects import (
    Dialect,
    error_document,
    error_event,
    error_status,
    read_error,
    read_stream_error,
)
from breakeven.wire.sse import event_data


def refusal(dialect: Dialect, kind: str, message: str) -> bytes:
    if dialect == "anthropic":
        return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}).encode()
    return json.dumps({"error": {"type": kind, "message": message, "code": None, "param": None}}).encode()


READ: list[tuple[Dialect, int, str, str, type[BreakevenError]]] = [
    ("openai", 400, "invalid_request_error", "no such field", RequestError),
    ("openai", 401, "authentication_error", "Incorrect API key: sk-secret", UpstreamError),
    ("openai", 402, "insufficient_quota", "pay first", UpstreamError),
    ("openai", 403, "permission_error", "not in your country", UpstreamError),
    ("openai", 404, "not_found_error", "no such model", RequestError),
    ("openai", 429, "rate_limit_error", "slow down", RateLimited),
    ("openai", 500, "server_error", "broken", UpstreamError),
    ("openai", 501, "not_supported", "no", Unsupported),
    ("openai", 500, "server_error", "image input is not supported - hint: the mmproj", Unsupported),
    ("openai", 503, "unavailable_error", "Loading model", EngineUnavailable),
    ("responses", 429, "rate_limit_error", "slow down", RateLimited),
    ("anthropic", 400, "invalid_request_error", "messages: field required", RequestError),
    ("anthropic", 400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextExceeded),
    (
        "anthropic",
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
        ContextExceeded,
    ),
    ("anthropic", 401, "authentication_error", "invalid x-api-key sk-secret", UpstreamError),
    ("anthropic", 402, "billing_error", "pay first", UpstreamError),
    ("anthropic", 403, "permission_error", "no", UpstreamError),
    ("anthropic", 404, "not_found_error", "model: claude-x", RequestError),
    ("anthropic", 413, "request_too_large", "too large", BodyTooLarge),
    ("anthropic", 429, "rate_limit_error", "slow down", RateLimited),
    ("anthropic", 500, "api_error", "Internal server error", UpstreamError),
    ("anthropic", 503, "api_error", "loading", EngineUnavailable),
    ("anthropic", 504, "timeout_error", "too slow", UpstreamError),
    ("anthropic", 529, "overloaded_error", "Overloaded", Overloaded),
]


@pytest.mark.parametrize(("dialect", "status", "kind", "message", "error"), READ)
def test_a_refusal_becomes_the_error_it_stands_for(
    dialect: Dialect, status: int, kind: str, message: str, error: type[BreakevenError]
) -> None:
    read = read_error(dialect, "cloud", status, refusal(dialect, kind, message))
    assert type(read) is error
    if type(read) is RequestError:
        assert read.status == status
    assert "sk-secret" not in str(read)


def test_a_spent_account_is_no_matter_of_waiting() -> None:
    body = json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode()
    read = read_error("openai", "cloud", 429, body)
    assert not isinstance(read, RateLimited)
    assert isinstance(read, UpstreamError)
    assert not read.retryable
    assert "providers.cloud.key" in str(read)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[]", b'"no"', b'{"error": "no"}', b"\xff\xfe"])
def test_a_refusal_in_any_shape_is_read(dialect: Dialect, body: bytes) -> None:
    assert isinstance(read_error(dialect, "cloud", 502, body), UpstreamError)
    assert isinstance(read_error(dialect, "cloud", 404, body), RequestError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.2", 1), ("2.5", 3), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("inf", None)],
)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_advice_on_when_to_come_back_is_read_in_whole_seconds(
    dialect: Dialect, header: str | None, seconds: int | None
) -> None:
    read = read_error(dialect, "cloud", 429, b"{}", header)
    assert isinstance(read, RateLimited)
    assert read.retry_after_seconds == seconds


def test_overload_carries_its_advice_too() -> None:
    read = read_error("anthropic", "cloud", 529, b"{}", "30")
    assert isinstance(read, Overloaded)
    assert read.retry_after_seconds == 30


MID_STREAM: list[tuple[Dialect, dict[str, Any], type[BreakevenError]]] = [
    ("openai", {"message": "out of memory", "code": 500}, UpstreamError),
    ("openai", {"message": "slow down", "code": 429}, RateLimited),
    ("anthropic", {"type": "overloaded_error", "message": "Overloaded"}, Overloaded),
    ("anthropic", {"type": "rate_limit_error", "message": "slow down"}, RateLimited),
    ("anthropic", {"type": "an_error_of_tomorrow", "message": "hm"}, UpstreamError),
    ("responses", {"code": "server_error", "message": "broken"}, UpstreamError),
    ("responses", {"code": "rate_limit_exceeded", "message": "slow down"}, RateLimited),
]


@pytest.mark.parametrize(("dialect", "details", "error"), MID_STREAM)
def test_an_error_in_mid_stream_becomes_the_error_it_stands_for(
    dialect: Dialect, details: dict[str, Any], error: type[BreakevenError]
) -> None:
    assert type(read_stream_error(dialect, "cloud", details)) is error


def with_status(status: int) -> RequestError:
    error = RequestError("no", remedy="Ask otherwise.")
    error.status = status
    return error


WRITTEN: list[tuple[BreakevenError, int, str, str]] = [
    (Unsupported("seed = 7: no", remedy="Leave it out."), 400, "BadRequestError", "BadRequestError"),
    (Unauthorized("no key"), 401, "AuthenticationError", "AuthenticationError"),
    (with_status(403), 403, "PermissionDeniedError", "PermissionDeniedError"),
    (ModelNotFound("m"), 404, "NotFoundError", "NotFoundError"),
    (BodyTooLarge("big"), 413, "APIStatusError", "ContentTooLargeError"),
    (RateLimited("slow down"), 429, "RateLimitError", "RateLimitError"),
    (UpstreamError("broken"), 502, "InternalServerError", "InternalServerError"),
    (EngineUnavailable("loading"), 503, "InternalServerError", "ServiceUnavailableError"),
    (Overloaded("full"), 503, "InternalServerError", "OverloadedError"),
]


def raised(client: openai.OpenAI | anthropic.Anthropic, error: BreakevenError, dialect: Dialect) -> Exception:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(error_status(dialect, error), json=error_document(dialect, error))

    with (
        client.with_options(http_client=httpx2.Client(transport=httpx2.MockTransport(answer))) as asking,
        pytest.raises((openai.APIError, anthropic.APIError)) as refused,
    ):
        asking.models.list()
    return refused.value


@pytest.mark.parametrize(("error", "status", "to_openai", "to_anthropic"), WRITTEN)
def test_the_sdks_raise_the_exception_that_each_error_deserves(
    error: BreakevenError, status: int, to_openai: str, to_anthropic: str
) -> None:
    chat = raised(openai.OpenAI(api_key="k", max_retries=0), error, "openai")
    message = raised(anthropic.Anthropic(api_key="k", max_retries=0), error, "anthropic")
    assert (type(chat).__name__, type(message).__name__) == (to_openai, to_anthropic)
    assert isinstance(chat, openai.APIStatusError)
    assert chat.status_code == status
    assert error.message in str(chat)
    assert error.message in str(message)


def test_an_error_in_mid_stream_ends_it_as_each_sdk_expects() -> None:
    error = StreamCut("the answer broke off", remedy="Send it again.")
    assert json.loads(event_data(error_event("openai", error)) or b"")["error"]["code"] == "stream_cut"
    assert error_event("anthropic", error).startswith(b"event: error\ndata: ")
    assert json.loads(event_data(error_event("anthropic", error)) or b"")["error"]["type"] == "api_error"
    numbered = json.loads(event_data(error_event("responses", error)) or b"")
    assert (numbered["type"], numbered["sequence_number"], numbered["code"]) == ("error", 0, "stream_cut")
    assert numbered["error"]["message"] == numbered["message"] == str(error)
