"""One call through the whole gateway: what the client gets, what the upstream saw, what the books say."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
import pytest
from tests.fakes.upstream import USAGE, Upstream
from tests.gateway.conftest import RunningGateway, remote

from breakeven.economics.tokens import TokenCounts

Serve = Callable[..., RunningGateway]
HELLO: Any = [{"role": "user", "content": "hello"}]
COUNTS = TokenCounts(uncached_input=400, cache_read=600, output=40)


def post(gateway: RunningGateway, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], Any]:
    host = gateway.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), json.loads(text)


@pytest.mark.parametrize("model", ["ok", "ok-json"])
def test_a_plain_answer_is_whole_and_booked(serve: Serve, fake: Upstream, model: str) -> None:
    gateway = serve(remote(fake))
    answer = gateway.client().chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.to_dict() == USAGE
    assert fake.seen.bodies[0]["stream"] is True
    (call,) = gateway.calls()
    (attempt,) = call.attempts
    assert call.outcome == "completed"
    assert attempt.tokens == COUNTS
    assert attempt.counted_by == "provider"
    assert attempt.model_served == f"{model}-served"


@pytest.mark.parametrize("model", ["ok", "ok-json"])
@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_is_passed_on_and_metered_either_way(
    serve: Serve, fake: Upstream, model: str, wants_usage: bool
) -> None:
    gateway = serve(remote(fake))
    options: Any = {"stream_options": {"include_usage": True}} if wants_usage else {}
    chunks = list(gateway.client().chat.completions.create(model=model, messages=HELLO, stream=True, **options))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "one two three"
    assert any(chunk.usage for chunk in chunks) is wants_usage
    (call,) = gateway.calls()
    assert call.stream
    assert call.attempts[0].tokens == COUNTS


def test_a_remote_call_is_billed_by_class_and_says_where_the_price_came_from(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    raw = gateway.client().chat.completions.with_raw_response.create(model="ok", messages=HELLO)
    expected = (400 * Decimal(2) + 600 * Decimal("0.1") + 40 * Decimal(10)) / 1_000_000
    (attempt,) = gateway.calls()[0].attempts
    assert attempt.money.billed == expected
    assert attempt.money.amortisation_share is None
    assert attempt.price is not None
    assert "test" in attempt.price.source
    assert attempt.price.effective == "2026-01-01"
    assert Decimal(raw.headers["x-breakeven-cost-usd"]) == expected


def test_a_local_call_bills_nothing_and_costs_energy_and_a_share_of_the_box(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    gateway.client().chat.completions.create(model="local-ok", messages=HELLO)
    (attempt,) = gateway.calls()[0].attempts
    money = attempt.money
    assert money.billed == 0
    assert money.marginal_energy is not None
    assert money.marginal_energy > 0
    assert money.amortisation_share is not None
    assert money.amortisation_share > money.marginal_energy
    assert attempt.power_meter == "modelled"
    assert money.counterfactual == (400 * Decimal(2) + 600 * Decimal("0.1") + 40 * Decimal(10)) / 1_000_000
    assert attempt.reference_model == "anthropic/claude-sonnet-5-5"


def test_an_unknown_price_is_unknown_not_zero(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    raw = gateway.client().chat.completions.with_raw_response.create(model="ok-json", messages=HELLO)
    (attempt,) = gateway.calls()[0].attempts
    assert attempt.money.billed is None
    assert attempt.price is None
    assert "x-breakeven-cost-usd" not in raw.headers


def test_labels_come_from_headers_or_metadata(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    client = gateway.client()
    client.chat.completions.create(model="ok", messages=HELLO, extra_headers={"x-breakeven-task": "tag"})
    client.chat.completions.create(model="ok", messages=HELLO, metadata={"task": "route", "agent": "a7"})
    first, second = gateway.calls()
    assert (first.task, first.agent) == ("tag", None)
    assert (second.task, second.agent) == ("route", "a7")


def test_tools_and_response_format_reach_the_upstream_untouched(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    body = {
        "model": "ok",
        "messages": HELLO,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "some_future_field": [1, {"x": None}],
    }
    status, _, _ = post(gateway, "/v1/chat/completions", json.dumps(body).encode())
    assert status == 200
    seen = fake.seen.bodies[0]
    assert {key: seen[key] for key in body} == body


def test_embeddings_are_passed_through_and_metered(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    answer = gateway.client().embeddings.create(model="ok", input="hi", encoding_format="float")
    assert answer.data[0].embedding == [0.5, 0.25]
    (call,) = gateway.calls()
    assert call.endpoint == "/v1/embeddings"
    assert call.attempts[0].tokens == TokenCounts(uncached_input=3)


@pytest.mark.parametrize("model", ["cut", "ends-early", "error-inside", "malformed"])
def test_a_stream_that_breaks_off_ends_with_an_error_event_and_is_still_booked(
    serve: Serve, fake: Upstream, model: str
) -> None:
    gateway = serve(remote(fake))
    with gateway.client().chat.completions.create(model=model, messages=HELLO, stream=True) as stream:
        assert next(iter(stream))
        with pytest.raises(openai.APIError):
            list(stream)
    (call,) = gateway.calls()
    assert call.outcome == "cut"
    (attempt,) = call.attempts
    assert attempt.counted_by == "estimate"
    assert attempt.tokens is not None
    assert attempt.tokens.output > 0
    assert attempt.error


@pytest.mark.parametrize("model", ["cut", "ends-early", "error-inside", "malformed"])
def test_a_plain_call_never_gets_half_an_answer(serve: Serve, fake: Upstream, model: str) -> None:
    gateway = serve(remote(fake))
    with pytest.raises(openai.InternalServerError):
        gateway.client().chat.completions.create(model=model, messages=HELLO)
    assert gateway.calls()[0].outcome == "cut"


def test_a_client_that_leaves_stops_the_upstream_and_is_booked(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    with gateway.client().chat.completions.create(model="endless", messages=HELLO, stream=True) as stream:
        next(iter(stream))
    assert fake.seen.client_left.wait(10)
    wait_until(lambda: len(gateway.calls()) == 1)
    (call,) = gateway.calls()
    assert call.outcome == "client_left"
    assert call.attempts[0].counted_by == "estimate"


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
    raise AssertionError("did not come true")


def test_a_whole_answer_without_usage_is_estimated_and_says_so(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    gateway.client().chat.completions.create(model="no-usage", messages=HELLO)
    assert gateway.calls()[0].attempts[0].counted_by == "estimate"


@pytest.mark.parametrize(
    ("model", "status", "code", "outcome"),
    [
        ("rate-limited", 429, "rate_limited", "failed"),
        ("overloaded", 503, "engine_unavailable", "failed"),
        ("broken", 502, "upstream_error", "failed"),
        ("hang-up", 502, "unanswered", "failed"),
        ("unauthorized", 502, "upstream_error", "failed"),
        ("bad-parameter", 400, "invalid_request", "refused"),
        ("too-long", 400, "context_length_exceeded", "refused"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_what_the_upstream_refuses_is_told_in_the_openai_shape(
    serve: Serve, fake: Upstream, model: str, status: int, code: str, outcome: str, streamed: bool
) -> None:
    gateway = serve(remote(fake))
    body = json.dumps({"model": model, "messages": HELLO, "stream": streamed}).encode()
    answered, headers, document = post(gateway, "/v1/chat/completions", body)
    assert answered == status
    assert document["error"]["code"] == code
    assert document["error"]["cause"]
    assert "sk-secret" not in json.dumps(document)
    assert headers["x-breakeven-call-id"].startswith("call_")
    if model == "rate-limited":
        assert headers["retry-after"] == "7"
    if model == "too-long":
        assert "9000 tokens" in document["error"]["message"]
    (call,) = gateway.calls()
    attempt = call.attempts[0]
    assert (call.outcome, attempt.error) == (outcome, code)
    if model == "hang-up":
        assert (attempt.counted_by, attempt.tokens.output) == ("estimate", 0), "it may have been served, and billed"
    else:
        assert attempt.tokens is None


def test_embeddings_that_a_model_cannot_make_are_refused_clearly(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    status, _, document = post(gateway, "/v1/embeddings", json.dumps({"model": "no-embeddings", "input": "x"}).encode())
    assert status == 400
    assert "--embeddings" in document["error"]["message"]


def test_a_server_that_is_not_there_is_a_retryable_error(serve: Serve, fake: Upstream) -> None:
    document = remote(fake)
    document["providers"]["house"]["base_url"] = "http://127.0.0.1:9/v1"
    gateway = serve(document)
    body = json.dumps({"model": "local-ok", "messages": HELLO}).encode()
    status, headers, answer = post(gateway, "/v1/chat/completions", body)
    assert (status, headers["retry-after"]) == (503, "1")
    assert "house cannot be reached" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_body"),
        (b'{"model": "ok"}', 400, "malformed_body"),
        (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
    ],
)
def test_a_bad_request_is_a_typed_error_and_reaches_no_upstream(
    serve: Serve, fake: Upstream, body: bytes, status: int, code: str
) -> None:
    gateway = serve(remote(fake))
    answered, _, document = post(gateway, "/v1/chat/completions", body)
    assert (answered, document["error"]["code"]) == (status, code)
    assert document["error"]["remedy"] or code == "malformed_body"
    assert fake.seen.paths == []


def test_a_body_over_the_limit_is_refused_before_it_is_read(serve: Serve, fake: Upstream) -> None:
    gateway = serve({**remote(fake), "gateway": {"max_body_bytes": 2000}})
    body = json.dumps({"model": "ok", "messages": [{"role": "user", "content": "x" * 3000}]}).encode()
    status, _, document = post(gateway, "/v1/chat/completions", body)
    assert (status, document["error"]["code"]) == (413, "body_too_large")


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent(serve: Serve, fake: Upstream) -> None:
    document = remote(fake)
    document["models"]["ok"]["context"] = 100
    gateway = serve(document)
    body = json.dumps({"model": "ok", "messages": [{"role": "user", "content": "word " * 1000}]}).encode()
    status, _, answer = post(gateway, "/v1/chat/completions", body)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert fake.seen.paths == []


def test_a_configured_key_is_demanded_and_named_in_the_books(serve: Serve, fake: Upstream) -> None:
    secret = "correct-horse-battery"
    gateway = serve({**remote(fake), "keys": {"ann": {"secret": "env:ANN"}}}, {"ANN": secret})
    with pytest.raises(openai.AuthenticationError, match="unknown"):
        gateway.client("wrong").chat.completions.create(model="ok", messages=HELLO)
    gateway.client(secret).chat.completions.create(model="ok", messages=HELLO)
    (call,) = gateway.calls()
    assert call.key == "ann"
    assert "authorization" not in fake.seen.headers[0]


def test_a_providers_key_is_sent_to_it_alone(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake, key="env:CLOUD_KEY"), {"CLOUD_KEY": "sk-cloud"})
    gateway.client("callers-own").chat.completions.create(model="ok", messages=HELLO)
    gateway.client("callers-own").chat.completions.create(model="local-ok", messages=HELLO)
    assert [headers.get("authorization") for headers in fake.seen.headers] == ["Bearer sk-cloud", None]


@pytest.mark.parametrize(("path", "status"), [("/v1/nothing", 404), ("/v1/models", 405)])
def test_wrong_paths_and_methods_are_told_in_the_same_shape(
    serve: Serve, fake: Upstream, path: str, status: int
) -> None:
    answered, _, document = post(serve(remote(fake)), path, b"{}")
    assert answered == status
    assert document["error"]["remedy"]


def test_models_health_and_readiness(serve: Serve, fake: Upstream) -> None:
    gateway = serve(remote(fake))
    listed = {model.id for model in gateway.client().models.list()}
    assert {"ok", "local"} <= listed
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=10)
    for path in ("/health", "/ready"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()
