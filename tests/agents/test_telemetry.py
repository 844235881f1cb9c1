"""Spans of a fleet by the GenAI conventions: who is below whom, across processes and up to the gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.exc import OperationalError
from tests.agents.conftest import Desk
from tests.fakes import cloud
from tests.fakes.cloud import MINI
from tests.fakes.web import Answer as Reply
from tests.fakes.web import web
from tests.gateway.conftest import run_gateway

from breakeven.agents import database, runs
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.llm import Answer, Asks, Call, Client
from breakeven.agents.telemetry import Spans
from breakeven.agents.worker import FleetWorker
from breakeven.errors import ItemDeferred
from breakeven.gateway import telemetry as gateway_telemetry

BASE_URL = "http://127.0.0.1:4141/v1"
app = App()


@app.agent("triage", model="sky", retries=0)
def triage(ctx: Context, item: dict[str, Any]) -> None:
    label = ctx.llm("classify", f"Label: {item['text']}", task="tag", max_tokens=4)
    ctx.llm("draft", f"Reply ({label}): {item['text']}", max_tokens=4)


def part(ctx: Context, topic: str) -> str:
    return ctx.llm("read", topic)


@app.agent("fan", model="sky")
def fan(ctx: Context, item: list[str]) -> None:
    ctx.map(part, item)


class Exporter(InMemorySpanExporter):
    """Keeps what it has when a worker leaves, for the next one."""

    def shutdown(self) -> None:
        pass


@dataclass
class Watch:
    """A desk whose workers write spans into memory; each worker is a process of its own as far as spans can tell."""

    desk: Desk
    exporter: InMemorySpanExporter

    def work(self, client: Asks | None = None, *agents: str) -> None:
        if agents:
            with self.desk.engine.begin() as connection:
                for name in agents:
                    runs.ask_for_run(connection, name)
        with closing(Spans(SimpleSpanProcessor(self.exporter), self.desk.engine, BASE_URL)) as spans:
            client = client or self.desk.oracle
            FleetWorker(app.members, self.desk.engine, client, sole=True, spans=spans).run(until_idle=True)

    def spans(self, operation: str) -> list[ReadableSpan]:
        found = [
            span for span in self.exporter.get_finished_spans() if said(span)["gen_ai.operation.name"] == operation
        ]
        return sorted(found, key=lambda span: span.start_time or 0)


@pytest.fixture
def watch(desk: Desk) -> Watch:
    return Watch(desk, Exporter())


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def below(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent is not None
    same_trace = child.context.trace_id == parent.context.trace_id == child.parent.trace_id
    return same_trace and child.parent.span_id == parent.context.span_id


def test_a_run_its_items_and_their_calls_hang_below_each_other(watch: Watch) -> None:
    watch.desk.enqueue("triage", {"text": "first secret"}, {"text": "second secret"})
    before = time.time_ns()
    watch.work(None, "triage")
    [workflow] = watch.spans("invoke_workflow")
    items, calls = watch.spans("invoke_agent"), watch.spans("chat")
    assert (workflow.name, workflow.parent, workflow.kind) == ("invoke_workflow triage", None, SpanKind.INTERNAL)
    assert said(workflow)["gen_ai.agent.name"] == said(workflow)["gen_ai.workflow.name"] == "triage"
    assert [said(workflow)[f"breakeven.items.{name}"] for name in ("taken", "succeeded", "failed")] == [2, 2, 0]
    assert [(item.name, item.kind) for item in items] == [("invoke_agent triage", SpanKind.INTERNAL)] * 2
    assert all(below(item, workflow) for item in items)
    assert [(call.name, call.kind) for call in calls] == [("chat sky", SpanKind.CLIENT)] * 4
    assert [sum(below(call, item) for call in calls) for item in items] == [2, 2]
    for span in (workflow, *items, *calls):
        assert span.status.status_code is StatusCode.UNSET
        assert before <= (span.start_time or 0) <= (span.end_time or 0) <= time.time_ns()
        assert "secret" not in span.to_json()
    first = said(calls[0])
    assert (first["gen_ai.request.model"], first["gen_ai.request.max_tokens"], first["breakeven.task"]) == (
        "sky",
        4,
        "tag",
    )
    assert (first["server.address"], first["server.port"]) == ("127.0.0.1", 4141)


def test_parts_of_a_map_call_models_below_their_item(watch: Watch) -> None:
    watch.desk.enqueue("fan", ["a", "b", "c"])
    watch.work(None, "fan")
    [item] = watch.spans("invoke_agent")
    calls = watch.spans("chat")
    assert len(calls) == 3
    assert all(below(call, item) for call in calls)


class Cut:
    """Answers the first call; whoever makes the second is told that nobody answers for now."""

    def __init__(self, client: Asks) -> None:
        self._client = client
        self._calls = 0

    def ask(self, call: Call, *, retries: int) -> Answer:
        self._calls += 1
        if self._calls == 2:
            refusal = ItemDeferred("HTTP 503: secret words", retry_after_seconds=0.0)
            refusal.http_status = 503
            raise refusal
        return self._client.ask(call, retries=retries)


def test_a_step_that_is_answered_from_its_record_calls_no_model(watch: Watch) -> None:
    watch.desk.enqueue("triage", {"text": "x"})
    watch.work(Cut(watch.desk.oracle), "triage")
    watch.work(None, "triage")
    first_run, second_run = watch.spans("invoke_workflow")
    first, second = watch.spans("invoke_agent")
    assert below(first, first_run)
    assert below(second, second_run)
    asked, refused, repeated = watch.spans("chat")
    assert [below(call, item) for call, item in ((asked, first), (refused, first), (repeated, second))] == [True] * 3
    for failed in (refused, first):
        assert said(failed)["error.type"] == "503"
        assert failed.status.status_code is StatusCode.ERROR
        assert "secret" not in failed.to_json()
    assert (second.status.status_code, said(second_run)["breakeven.items.succeeded"]) == (StatusCode.UNSET, 1)


def test_an_error_is_named_by_its_class_and_never_by_its_words(watch: Watch) -> None:
    failing = App()

    @failing.agent("bad")
    def bad(ctx: Context, item: str) -> None:
        raise ValueError(f"cannot read {item}")

    watch.desk.enqueue("bad", "secret")
    app.members["bad"] = failing.members["bad"]
    try:
        watch.work(None, "bad")
    finally:
        del app.members["bad"]
    [item], [workflow] = watch.spans("invoke_agent"), watch.spans("invoke_workflow")
    assert (said(item)["error.type"], item.status.description) == ("ValueError", None)
    assert said(workflow)["breakeven.items.failed"] == 1
    assert not any("secret" in span.to_json() for span in watch.exporter.get_finished_spans())


def test_a_run_whose_source_fails_is_an_error(watch: Watch) -> None:
    failing = App()
    failing.agent("lost", source={"kind": "folder", "path": "/nowhere/at/all"})(lambda ctx, item: None)
    app.members["lost"] = failing.members["lost"]
    try:
        watch.work(None, "lost")
    finally:
        del app.members["lost"]
    [workflow] = watch.spans("invoke_workflow")
    assert (said(workflow)["error.type"], workflow.status.status_code) == ("run_failed", StatusCode.ERROR)
    assert workflow.status.description is None


def test_a_run_that_another_process_began_is_told_once_by_whoever_finds_it_over(watch: Watch) -> None:
    """As when the worker that began it was killed: its own spans are lost, the run's is not."""
    watch.desk.enqueue("triage", {"text": "x"})
    dead = Spans(SimpleSpanProcessor(InMemorySpanExporter()), watch.desk.engine, BASE_URL)
    with closing(dead), watch.desk.engine.begin() as connection:
        run = runs.ask_for_run(connection, "triage")
        runs.begin(connection, run, "dead")
        dead.begin_run(connection, "triage", run)
        runs.take_over(connection, "dead")
    watch.work()
    [workflow] = watch.spans("invoke_workflow")
    assert all(below(item, workflow) for item in watch.spans("invoke_agent"))
    watch.work()
    assert len(watch.spans("invoke_workflow")) == 1
    with watch.desk.engine.connect() as connection:
        assert connection.execute(database.traces.select()).all() == []


def test_a_database_that_fails_costs_a_span_its_parent_and_not_the_item(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Spans(SimpleSpanProcessor(watch.exporter), watch.desk.engine, BASE_URL)

    def fails() -> Any:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(watch.desk.engine, "connect", fails)
    with closing(spans), spans.item("triage", "triage/1/1"):
        pass
    [item] = watch.spans("invoke_agent")
    assert item.parent is None


@contextmanager
def gateway_spans_in(exporter: InMemorySpanExporter) -> Iterator[Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield gateway_telemetry.Spans(provider.get_tracer("gateway")).observe


def test_the_gateways_spans_go_on_below_the_calls_of_agents(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_gateway = InMemorySpanExporter()
    monkeypatch.setattr("breakeven.gateway.assembly.exporting_spans", lambda: gateway_spans_in(at_gateway))
    with cloud.running() as sky:
        document = {
            "gateway": {"traces": True},
            "policy": {"default_data": "shareable"},
            "providers": {"sky": {"base_url": f"{sky.url}/v1", "locality": "remote", "key": "env:SKY_KEY"}},
            "models": {"sky": {"provider": "sky", "model": MINI}},
        }
        with run_gateway(document, tmp_path / "gateway", {"SKY_KEY": "sk-sim"}) as gateway:
            watch.desk.enqueue("triage", {"text": "x"})
            with closing(Client(f"{gateway.url}/v1", None)) as client:
                watch.work(client, "triage")
                watch.desk.enqueue("triage", {"text": "x"})
    calls = watch.spans("chat")
    served = [span for span in at_gateway.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert len(calls) == len(served) == 2
    for call, span in zip(calls, sorted(served, key=lambda span: span.start_time or 0), strict=True):
        assert below(span, call)
        [attempt] = [one for one in at_gateway.get_finished_spans() if one.kind is SpanKind.CLIENT and below(one, span)]
        told, booked = said(call), said(attempt)
        assert told["gen_ai.provider.name"] == booked["gen_ai.provider.name"] == "sky"
        assert told["gen_ai.response.model"] == booked["gen_ai.response.model"]
        for count in ("input_tokens", "output_tokens"):
            assert told[f"gen_ai.usage.{count}"] == booked[f"gen_ai.usage.{count}"] > 0


def test_the_command_sends_spans_to_the_collector_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    agent = "from breakeven.agents.app import App\napp = App()\n@app.agent('tick')\ndef tick(ctx): ...\n"
    (tmp_path / "agents" / "tick.py").write_text(agent)
    (tmp_path / "breakeven.toml").write_text("[agents]\ntraces = true\n")
    command = [sys.executable, "-m", "breakeven", "agents", "run", "--wake", "--until-idle", "--json"]
    with web(lambda _: Reply()) as collector:
        environment = {
            **os.environ,
            "BREAKEVEN_HOME": str(tmp_path / "home"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        [sent] = [ExportTraceServiceRequest.FromString(asked.body) for asked in collector.asked]
    [resource] = sent.resource_spans
    service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
    [scope] = resource.scope_spans
    item, workflow = sorted(scope.spans, key=lambda span: span.name)
    assert (service, item.name, workflow.name) == ("breakeven-agents", "invoke_agent tick", "invoke_workflow tick")
    assert (item.trace_id, item.parent_span_id) == (workflow.trace_id, workflow.span_id)


def test_an_answer_that_was_given_before_is_not_counted_again() -> None:
    body = {"model": "m", "choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 5}}
    exporter = InMemorySpanExporter()
    answers = iter([Answer.read(body, {}), Answer.read(body, {"x-breakeven-replayed": "true"})])

    class Recorded:
        def ask(self, call: Call, *, retries: int) -> Answer:
            return next(answers)

    engine = database.connect("sqlite:///nowhere-at-all.sqlite3", Path())
    with closing(Spans(SimpleSpanProcessor(exporter), engine, BASE_URL)) as spans:
        for _ in range(2):
            spans.watching(Recorded()).ask(Call("m", [], "k", {"chain": "triage/1/1"}), retries=0)
    first, again = exporter.get_finished_spans()
    assert said(first)["gen_ai.usage.input_tokens"] == 5
    assert "gen_ai.usage.input_tokens" not in said(again)
    assert said(again)["breakeven.replayed"] is True
    engine.dispose()


def test_without_telemetry_nothing_of_it_is_imported(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from breakeven.agents import database, runs
from breakeven.agents.app import App
from breakeven.agents.worker import FleetWorker
app = App()
app.agent("tick")(lambda ctx: None)
engine = database.connect(None, Path({str(tmp_path)!r}))
database.migrate(engine)
with engine.begin() as connection:
    runs.ask_for_run(connection, "tick")
FleetWorker(app.members, engine, None, sole=True).run(until_idle=True)
with engine.connect() as connection:
    assert connection.execute(database.runs.select()).one().state == "done"
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
