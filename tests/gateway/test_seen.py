"""What the gateway shows of itself: metrics, admin pages, spans; never a prompt, an answer or a secret."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.cloud import GPT, SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO
from tests.ledger import samples

from breakeven.gateway.telemetry import Spans

Serve = Callable[..., RunningGateway]


def page(gateway: RunningGateway, path: str) -> str:
    with urllib.request.urlopen(f"{gateway.url}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def promoted(gateway: RunningGateway) -> None:
    """A call that the box failed at."""
    gateway.client().chat.completions.create(
        model="task:tag", messages=HELLO, extra_headers={"x-breakeven-agent": "a7"}
    )


def test_metrics_count_attempts_tokens_and_dollars(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="broken", budgets={"all": {"usd": "5"}}), KEYS)
    gateway.client().chat.completions.create(model="task:tag", messages=HELLO, max_tokens=50)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(gateway, "/metrics"))
        for sample in family.samples
    }
    house = (("model", "broken"), ("outcome", "failed"), ("provider", "house"))
    cloud = (("model", GPT), ("provider", "gpt"))
    (call,) = gateway.calls()
    paid = call.attempts[1].money.billed
    assert paid is not None
    assert samples["breakeven_calls_total", (("outcome", "completed"),)] == 1
    assert samples["breakeven_attempts_total", house] == 1
    assert samples["breakeven_cost_usd_total", cloud] == float(paid)
    assert samples["breakeven_budget_spent_usd", (("budget", "all"),)] == float(paid)
    assert samples["breakeven_budget_reserved_usd", (("budget", "all"),)] == 0


def test_admin_pages_tell_where_calls_went_and_why(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="broken"), KEYS)
    promoted(gateway)
    (decision,) = json.loads(page(gateway, "/admin/decisions"))["decisions"]
    assert (decision["task"], decision["agent"]) == ("tag", "a7")
    assert [attempt["provider"] for attempt in decision["attempts"]] == ["house", "gpt"]
    overview = json.loads(page(gateway, "/admin"))
    assert {model["name"]: model["breaker"] for model in overview["models"]}["local"] == "closed"
    shown = json.dumps([decision, overview])
    assert not any(secret in shown for secret in KEYS.values())
    assert "hello" not in shown


def test_spans_follow_the_genai_conventions(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    gateway = serve(desk(sky, fake, local="broken"), KEYS)
    promoted(gateway)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    (call,) = gateway.calls()
    Spans(provider.get_tracer("test")).observe(call)
    failed, answered, whole = exporter.get_finished_spans()
    tokens = call.attempts[1].tokens
    assert tokens is not None
    attributes: Any = answered.attributes
    assert attributes["gen_ai.usage.input_tokens"] == tokens.input
    assert attributes["gen_ai.provider.name"] == "gpt"
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "upstream_error"
    assert answered.parent is not None
    assert answered.parent.span_id == whole.context.span_id
    assert whole.start_time is not None
    assert answered.end_time is not None
    assert whole.end_time is not None
    assert whole.start_time <= answered.end_time <= whole.end_time


def test_the_description_names_every_endpoint(serve: Serve, sky: SimulatedCloud) -> None:
    gateway = serve(desk(sky), KEYS)
    described = json.loads(page(gateway, "/openapi.json"))["paths"]
    for path, methods in described.items():
        if "get" in methods and path != "/ready":
            assert page(gateway, path.replace("{model}", "gpt"))
    assert "/v1/messages" in described


@pytest.mark.parametrize(
    ("sent", "trace"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 0x0AF7651916CD43DD8448EB211C80319C),
        ("nonsense", None),
    ],
)
def test_spans_go_on_below_their_callers(sent: str, trace: int | None) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Spans(provider.get_tracer("test")).observe(msgspec.structs.replace(samples.call(), traceparent=sent))
    whole = exporter.get_finished_spans()[-1]
    assert (whole.parent.trace_id if whole.parent is not None else None) == trace
