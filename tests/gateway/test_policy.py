"""Local first, promoted by policy: where a call goes, what the books and headers say of it, what it may never do."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO, post

from breakeven.gateway.delivery import COST_PLACES

Serve = Callable[..., RunningGateway]


def ask(gateway: RunningGateway, model: str = "task:tag", **headers: str) -> Any:
    """One plain call; the raw response with its headers."""
    client = gateway.client().chat.completions
    return client.with_raw_response.create(model=model, messages=HELLO, extra_headers=headers)


def test_a_bulk_task_stays_on_the_box(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    raw = ask(gateway)
    assert raw.parse().choices[0].message.content == "one two three"
    assert raw.headers["x-breakeven-served-by"] == "house/ok"
    assert "task tag" in raw.headers["x-breakeven-reason"]
    assert Decimal(raw.headers["x-breakeven-cost-usd"]) > 0
    (call,) = gateway.calls()
    assert raw.headers["x-breakeven-call-id"] == call.id
    assert (call.task, call.attempts[0].locality) == ("tag", "local")
    assert sky.seen()["requests"] == 0


@pytest.mark.parametrize("local", ["hang-up", "broken", "overloaded", "cut", "ends-early", "malformed"])
def test_what_the_box_fails_at_goes_on_in_the_cloud_and_both_attempts_are_paid(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, local: str
) -> None:
    gateway = serve(desk(sky, fake, local=local), KEYS)
    raw = ask(gateway)
    assert raw.headers["x-breakeven-served-by"].startswith("gpt/")
    (call,) = gateway.calls()
    first, second = call.attempts
    assert call.outcome == "completed"
    assert (first.locality, first.outcome) == (
        "local",
        "cut" if local in {"cut", "ends-early", "malformed"} else "failed",
    )
    assert (second.locality, second.outcome) == ("remote", "completed")
    assert first.cost is not None
    assert second.cost is not None
    assert Decimal(raw.headers["x-breakeven-cost-usd"]) == round(first.cost + second.cost, COST_PLACES)


def test_an_answer_that_fails_its_gate_is_promoted_and_stays_in_the_books(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    gates = {"rejects": ["^one two three$"]}
    gateway = serve(desk(sky, fake, tasks={"tag": {"gates": gates}}), KEYS)
    raw = ask(gateway)
    assert raw.headers["x-breakeven-served-by"].startswith("gpt/")
    assert "local: not good enough by rejects" in raw.headers["x-breakeven-reason"]
    first, second = gateway.calls()[0].attempts
    assert (first.outcome, first.error) == ("completed", "gate:rejects")
    assert first.tokens is not None
    assert second.error is None


def test_an_answer_nobody_can_better_is_given_and_marked(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    tasks = {"tag": {"models": ["local"], "gates": {"matches": ["seven"]}}}
    gateway = serve(desk(sky, fake, tasks=tasks), KEYS)
    raw = ask(gateway)
    assert raw.parse().choices[0].message.content == "one two three"
    assert raw.headers["x-breakeven-gate"] == "matches"


@pytest.mark.parametrize("door", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_door_lets_an_answer_past_its_gates(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, door: str, stream: bool
) -> None:
    gateway = serve(desk(sky, fake, tasks={"tag": {"gates": {"rejects": ["two"]}}}), KEYS)
    asked = {"input": "hello"} if door == "responses" else {"messages": HELLO, "max_tokens": 50}
    document = {"model": "task:tag", "stream": stream, **asked}
    answer = httpx.post(f"{gateway.url}/v1/{door}", json=document, timeout=30)
    assert (answer.status_code, "two" in answer.text) == (200, False)
    first, second = gateway.calls()[0].attempts
    assert (first.error, second.provider, second.error) == ("gate:rejects", "gpt", None)


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_must_pass_the_gates(serve: Serve, sky: SimulatedCloud, fake: Upstream, stream: bool) -> None:
    gates = {"rejects": ["four"]}
    gateway = serve(desk(sky, fake, local="two-choices", tasks={"tag": {"gates": gates}}), KEYS)
    body = json.dumps({"model": "task:tag", "messages": HELLO, "n": 2, "stream": stream}).encode()
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", content=body, timeout=30)
    assert (answer.status_code, answer.headers["x-breakeven-served-by"].partition("/")[0]) == (200, "gpt")
    first, second = gateway.calls()[0].attempts
    assert (first.error, second.error) == ("gate:rejects", None)


def test_an_answer_that_lacks_one_of_its_choices_was_cut(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="two-choices-cut"), KEYS)
    body = json.dumps({"model": "task:tag", "messages": HELLO, "n": 2}).encode()
    assert post(gateway, "/v1/chat/completions", body)[0] == 200
    first, second = gateway.calls()[0].attempts
    assert (first.outcome, second.outcome, second.provider) == ("cut", "completed", "gpt")


def test_a_schema_of_the_request_is_a_gate(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = gateway.client().chat.completions.create(
        model="task:extract",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content or "")["n"], int)
    first, second = gateway.calls()[0].attempts
    assert (first.error, second.provider) == ("gate:schema_valid", "gpt")


def test_a_buffered_stream_speaks_with_one_voice(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, tasks={"tag": {"gates": {"matches": ["seven"]}}}), KEYS)
    stream = gateway.client().chat.completions.create(model="task:tag", messages=HELLO, stream=True)
    text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert "one two three" not in text
    assert text
    assert [attempt.locality for attempt in gateway.calls()[0].attempts] == ["local", "remote"]


def test_a_passed_stream_ends_with_the_verdict_of_its_gate(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    tasks = {"tag": {"stream": "pass", "gates": {"matches": ["seven"]}}}
    gateway = serve(desk(sky, fake, local="gated", tasks=tasks), KEYS)
    with gateway.client().chat.completions.with_streaming_response.create(
        model="task:tag", messages=HELLO, stream=True
    ) as raw:
        lines = raw.iter_lines()
        assert "one " in next(line for line in lines if '"one ' in line)
        fake.gate.set()
        rest = [line for line in lines if line]
    assert rest[-3:-1] == [rest[-3], ": x-breakeven-gate=matches"]
    assert rest[-3].startswith(": x-breakeven-cost-usd=")
    assert rest[-1] == "data: [DONE]"
    (call,) = gateway.calls()
    assert [attempt.error for attempt in call.attempts] == ["gate:matches"]


def test_words_once_spoken_are_not_followed_by_another_model(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="cut", tasks={"tag": {"stream": "pass", "gates": OPEN}}), KEYS)
    with pytest.raises(openai.APIError, match="broke off"):
        list(gateway.client().chat.completions.create(model="task:tag", messages=HELLO, stream=True))
    (call,) = gateway.calls()
    assert (call.outcome, len(call.attempts)) == ("cut", 1)
    assert sky.seen()["requests"] == 0


OPEN = {"not_empty": False, "not_refused": False, "not_truncated": False, "schema_valid": False}


def test_data_that_stays_reaches_no_cloud_whatever_fails(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="broken"), KEYS)
    headers = {"x-breakeven-data": "local_only"}
    with pytest.raises(openai.InternalServerError):
        ask(gateway, **headers)
    with pytest.raises(openai.PermissionDeniedError, match="local_only"):
        ask(gateway, "gpt", **headers)
    with pytest.raises(openai.PermissionDeniedError):
        gateway.client().embeddings.create(model="embed", input="hello", extra_headers=headers)
    status, _, body = post(
        gateway, "/v1/messages/count_tokens", json.dumps({"model": "claude", "messages": HELLO}).encode(), **headers
    )
    assert (status, body["error"]["type"]) == (403, "permission_error")
    assert sky.seen()["requests"] == 0


def test_unlabelled_data_stays_by_default(serve: Serve, sky: SimulatedCloud) -> None:
    document = desk(sky)
    del document["policy"]
    with pytest.raises(openai.PermissionDeniedError, match=r"policy\.default_data"):
        ask(serve(document, KEYS), "gpt")
    assert sky.seen()["requests"] == 0


def test_labels_that_mean_nothing_are_refused_by_name(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    body = json.dumps({"model": "local", "messages": HELLO}).encode()
    for name, value in (("data", "secret"), ("priority", "high"), ("deadline-seconds", "-1"), ("task", "x" * 300)):
        status, _, answer = post(gateway, "/v1/chat/completions", body, **{f"x-breakeven-{name}": value})
        assert status == 400
        assert f"x-breakeven-{name}" in answer["error"]["message"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_label_beyond_ascii_is_booked_as_it_was_meant(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, encoding: str
) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    headers = {"x-breakeven-agent": "Müller".encode(encoding), "x-breakeven-task": "Größe".encode(encoding)}
    document = {"model": "local", "messages": HELLO}
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=document, headers=headers, timeout=30)
    assert answer.status_code == 200
    (call,) = gateway.calls()
    assert (call.agent, call.task) == ("Müller", "Größe")


def test_a_deadline_ends_the_call_with_its_name(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="gated"), KEYS)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(gateway, "local", **{"x-breakeven-deadline-seconds": "0.3"})
    assert caught.value.status_code == 504
    (call,) = gateway.calls()
    assert call.attempts[0].error == "deadline_exceeded"


def test_a_server_is_asked_for_no_more_answers_at_once_than_it_was_said_to_give(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    document = desk(sky, fake, local="gated", tasks={"tag": {"models": ["local"]}})
    document["providers"]["house"]["concurrency"] = 1
    gateway = serve(document, KEYS)
    asked = {"url": f"{gateway.url}/v1/chat/completions", "timeout": 30}
    body = {"model": "local", "messages": HELLO}
    with httpx.stream("POST", **asked, json={**body, "stream": True}) as first:
        words = first.iter_text()
        next(words)
        second = httpx.post(**asked, json=body, headers={"x-breakeven-deadline-seconds": "0.2"})
        assert len(fake.seen.bodies) == 1
        fake.gate.set()
        assert "[DONE]" in "".join(words)
    assert second.status_code in (429, 504), "no room, or too late to look for any"
    assert httpx.post(**asked, json=body).status_code == 200


def test_a_breaker_leaves_a_failing_model_alone_and_says_so(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    policy = {"default_data": "shareable", "retries": 0, "breaker_failures": 2}
    gateway = serve(desk(sky, fake, local="broken", policy=policy), KEYS)
    for _ in range(3):
        ask(gateway)
    calls = gateway.calls()
    assert [len(call.attempts) for call in calls] == [2, 2, 1]
    assert len(fake.seen.bodies) == 2
    with pytest.raises(openai.InternalServerError, match="left alone"):
        ask(gateway, "local")


def test_the_same_request_gets_the_kept_answer_and_costs_nothing_again(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    gateway = serve(desk(sky, fake, tasks={"tag": {"models": ["gpt"], "cache_seconds": 60}}), KEYS)
    first, again = ask(gateway), ask(gateway)
    assert again.parse() == first.parse()
    assert again.headers["x-breakeven-replayed"] == "true"
    assert again.headers["x-breakeven-cost-usd"] == "0"
    one, two = gateway.calls()
    assert (one.attempts[0].provider, two.attempts[0].provider) == ("gpt", "cache")
    assert two.attempts[0].cost == 0
    assert len(sky.invoice()["lines"]) == 1


def test_an_answer_kept_for_one_task_is_not_given_where_another_has_stricter_gates(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    task = {"models": ["local", "gpt"], "cache_seconds": 60}
    tasks = {"tag": task, "route": {**task, "gates": {"rejects": ["one two three"]}}}
    gateway = serve(desk(sky, fake, tasks=tasks), KEYS)
    body = json.dumps({"model": "local", "messages": HELLO}).encode()
    for name in ("tag", "route", "tag"):
        assert post(gateway, "/v1/chat/completions", body, **{"x-breakeven-task": name})[0] == 200
    tag, route, again = gateway.calls()
    assert [attempt.error for attempt in tag.attempts] == [None]
    assert [attempt.error for attempt in route.attempts] == ["gate:rejects", None]
    assert [attempt.provider for attempt in again.attempts] == ["cache"]


def test_a_plan_is_explained_without_sending(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    body = json.dumps({"model": "task:tag", "messages": HELLO}).encode()
    status, _, plan = post(gateway, "/admin/explain", body, **{"x-breakeven-data": "local_only"})
    assert status == 200
    assert [one["alias"] for one in plan["attempts"]] == ["local"]
    assert [(one["alias"], one["rule"]) for one in plan["set_aside"]] == [("frontier", "data")]
    assert gateway.calls() == []
    assert fake.seen.bodies == []


def test_tools_that_the_provider_runs_have_no_bound_and_are_refused_under_a_budget(
    serve: Serve, sky: SimulatedCloud
) -> None:
    gateway = serve(desk(sky, budgets={"all": {"usd": "5"}}), KEYS)
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    body = json.dumps({"model": "claude", "max_tokens": 20, "messages": HELLO, "tools": tools}).encode()
    status, _, answer = post(gateway, "/v1/messages", body)
    assert (status, sky.seen()["requests"]) == (402, 0)
    assert "budget 'all'" in answer["error"]["message"]


def test_a_tier_of_unknown_rates_is_refused_under_a_budget(serve: Serve, sky: SimulatedCloud) -> None:
    body = json.dumps({"model": "gpt", "max_tokens": 20, "messages": HELLO, "service_tier": "priority"}).encode()
    gateway = serve(desk(sky, budgets={"all": {"usd": "5"}}), KEYS)
    status, _, answer = post(gateway, "/v1/chat/completions", body)
    assert (status, sky.seen()["requests"]) == (402, 0)
    assert "budget 'all'" in answer["error"]["message"]


@pytest.mark.parametrize("label", ["a\u0000b", "a\nx-breakeven-cost-usd: 0", "\u007f"])
def test_a_label_with_control_characters_is_refused_before_books_or_headers_see_it(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, label: str
) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    body = json.dumps({"model": "local", "messages": HELLO, "metadata": {"agent": label}}).encode()
    status, _, answer = post(gateway, "/v1/chat/completions", body)
    assert (status, fake.seen.bodies) == (400, [])
    assert "x-breakeven-agent" in answer["error"]["message"]


def test_an_answer_that_did_not_pass_its_gate_is_not_kept(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    task = {"models": ["local"], "cache_seconds": 60, "gates": {"matches": ["never said"]}}
    gateway = serve(desk(sky, fake, tasks={"tag": task}), KEYS)
    body = json.dumps({"model": "task:tag", "messages": HELLO}).encode()
    for _ in range(2):
        status, headers, _ = post(gateway, "/v1/chat/completions", body)
        assert (status, headers["x-breakeven-gate"]) == (200, "matches")
    assert len(fake.seen.bodies) == 2


def test_a_deadline_holds_for_embeddings_too(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="silent-embedder"), KEYS)
    body = json.dumps({"model": "local", "input": "x"}).encode()
    status, _, answer = post(gateway, "/v1/embeddings", body, **{"x-breakeven-deadline-seconds": "0.2"})
    assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
    assert gateway.calls()[0].attempts[0].error == "deadline_exceeded"
