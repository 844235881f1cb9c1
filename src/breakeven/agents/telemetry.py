"""OpenTelemetry spans of a fleet by the GenAI conventions: ``invoke_workflow`` for a run, below it ``invoke_agent`` for
each time an item is taken in hand, below that ``chat`` for each call of a model, and below that the gateway's own span.

A run outlives the process that began it, so its trace context is kept in the database while it is under way, and its
span is written, once, by whichever worker finds that it is over. A step that is answered from its record calls no model
and has no span. Prompts, answers, payloads and the words of errors are never part of a span.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from breakeven.agents.database import items, runs, traces
from breakeven.agents.llm import Answer, Asks, Call
from breakeven.agents.queue import item_number
from breakeven.errors import AgentError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

SERVICE = "breakeven-agents"

log = logging.getLogger(__name__)


class Untraced:
    """No spans: what a worker without telemetry has instead of ``Spans``."""

    def begin_run(self, connection: Connection, agent: str, run: str) -> None:
        """A run begins, in this transaction."""

    def tell_runs(self) -> None:
        """Write the spans of runs that are over."""

    def item(self, _agent: str, _chain: str, /) -> AbstractContextManager[None]:
        """An item is worked on meanwhile; the chain names the attempt."""
        return nullcontext()

    def watching(self, client: Asks) -> Asks:
        """The client, with a span for each call."""
        return client


class Spans(Untraced):
    """Writes spans. Telemetry that fails never keeps an agent from its work.

    Args:
        processor: takes the spans that have ended.
        base_url: of the server that is asked.
    """

    def __init__(self, processor: SpanProcessor, database: Engine, base_url: str) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        self._database = database
        self._ids = _ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": SERVICE}), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("breakeven.agents")
        self._at_work: dict[str, Context] = {}
        address = urlsplit(base_url)
        port = address.port or (443 if address.scheme == "https" else 80)
        self._server = {"server.address": address.hostname or "", "server.port": port}

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()

    def begin_run(self, connection: Connection, agent: str, run: str) -> None:
        """Settle a run's place in its trace; one that is begun again, after its worker died, keeps it."""
        from opentelemetry.context import Context  # noqa: PLC0415

        place = self._tracer.start_span(f"invoke_workflow {agent}", Context(), attributes=_workflow(agent))
        known = sa.select(sa.literal(1)).where(traces.c.run == run)
        if connection.execute(known).first() is None:
            connection.execute(sa.insert(traces).values(run=run, traceparent=_traceparent(place)))

    def tell_runs(self) -> None:
        """Write the spans of runs that are over, each by the one worker that gets to strike it off."""
        with self._database.connect() as connection:
            over = connection.execute(
                sa.select(traces.c.traceparent, runs)
                .join(runs, runs.c.id == traces.c.run)
                .where(runs.c.finished_at.is_not(None))
            ).all()
        for run in over:
            with self._database.begin() as connection:
                mine = connection.execute(sa.delete(traces).where(traces.c.run == run.id)).rowcount
            if mine:
                self._tell_run(run)

    def _tell_run(self, run: sa.Row[Any]) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.context import Context  # noqa: PLC0415

        place = trace.get_current_span(_context(run.traceparent)).get_span_context()
        counts = {"taken": run.taken, "succeeded": run.succeeded, "failed": run.failed}
        with self._ids.given(place.trace_id, place.span_id):
            span = self._tracer.start_span(
                f"invoke_workflow {run.agent}",
                Context(),
                attributes={
                    **_workflow(run.agent),
                    "breakeven.run": run.id,
                    "breakeven.trigger": run.trigger,
                    "breakeven.outcome": run.state,
                    **{f"breakeven.items.{name}": number for name, number in counts.items()},
                },
                start_time=_nanoseconds(run.started_at),
            )
        if run.state != "done":
            span.set_attribute("error.type", f"run_{run.state}")
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(run.finished_at))

    @contextmanager
    def item(self, agent: str, chain: str, /) -> Iterator[None]:
        """Write a span of the handler at work on an item."""
        from opentelemetry import trace  # noqa: PLC0415

        named = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "breakeven.chain": chain}
        span = self._tracer.start_span(f"invoke_agent {agent}", self._run_of(chain), attributes=named)
        self._at_work[chain] = trace.set_span_in_context(span)
        try:
            yield
        except BaseException as error:
            _failed(span, error)
            raise
        finally:
            self._at_work.pop(chain, None)
            span.end()

    def watching(self, client: Asks) -> Asks:
        """The client, with a span for each call."""
        return _Watched(client, self)

    def ask(self, client: Asks, call: Call, *, retries: int) -> Answer:
        """As ``Asks.ask``, with a span over all tries."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        chain = call.labels.get("chain", "")
        within = self._at_work.get(chain) or (self._run_of(chain) if chain else _context(None))
        request = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",  # the dialect that is spoken, until the answer says who gave it
            "gen_ai.request.model": call.model,
            "gen_ai.request.max_tokens": call.max_tokens,
            "gen_ai.request.temperature": call.temperature,
            "gen_ai.output.type": "text" if call.schema is None else "json",
            "gen_ai.agent.name": call.labels.get("agent"),
            "breakeven.task": call.labels.get("task"),
            "breakeven.chain": chain,
            **self._server,
        }
        span = self._tracer.start_span(f"chat {call.model}", within, SpanKind.CLIENT, attributes=_known(request))
        try:
            answer = client.ask(replace(call, traceparent=_traceparent(span)), retries=retries)
        except BaseException as error:
            _failed(span, error)
            raise
        else:
            span.set_attributes(_known(_answered(answer)))
            return answer
        finally:
            span.end()

    def _run_of(self, chain: str) -> Context:
        """The place of the run that an attempt belongs to now; that of nothing when it is not known."""
        place = sa.select(traces.c.traceparent).join(items, items.c.run == traces.c.run)
        try:
            with self._database.connect() as connection:
                found = connection.scalar(place.where(items.c.id == item_number(chain)))
        except DBAPIError as error:
            log.warning("%s: its run's trace cannot be read, so its span has no parent: %s", chain, error.orig)
            found = None
        return _context(found)


class _Watched:
    def __init__(self, client: Asks, spans: Spans) -> None:
        self._client = client
        self._spans = spans

    def ask(self, call: Call, *, retries: int) -> Answer:
        return self._spans.ask(self._client, call, retries=retries)


def _ids() -> Any:
    """Random ids, but for a span that must have the ones that others know it by already."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415

    class Ids(RandomIdGenerator):
        def __init__(self) -> None:
            self._given = threading.local()

        @contextmanager
        def given(self, trace_id: int, span_id: int) -> Iterator[None]:
            self._given.ids = trace_id, span_id
            try:
                yield
            finally:
                del self._given.ids

        def generate_trace_id(self) -> int:
            given: tuple[int, int] | None = getattr(self._given, "ids", None)
            return super().generate_trace_id() if given is None else given[0]

        def generate_span_id(self) -> int:
            given: tuple[int, int] | None = getattr(self._given, "ids", None)
            return super().generate_span_id() if given is None else given[1]

    return Ids()


def _workflow(agent: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": agent,
        "gen_ai.workflow.name": agent,  # as the conventions had it before they called workflows agents, too
    }


def _answered(answer: Answer) -> dict[str, Any]:
    by_gateway = answer.served_by is not None and answer.served_by != answer.model
    provider = str(answer.served_by).partition("/")[0] if by_gateway else None
    told = {"gen_ai.provider.name": provider, "gen_ai.response.model": answer.model}
    if answer.replayed:  # what it used is in the span of the call that was answered first
        return {**told, "breakeven.replayed": True}
    return {
        **told,
        "gen_ai.usage.input_tokens": answer.input_tokens,
        "gen_ai.usage.output_tokens": answer.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": answer.cached_tokens,
    }


def _failed(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.set_attribute("error.type", _error_type(error))
    span.set_status(StatusCode.ERROR)


def _error_type(error: BaseException) -> str:
    """The HTTP status, or the class of the exception that is behind an error of ours, or that error's own code."""
    if not isinstance(error, AgentError):
        return type(error).__qualname__
    if error.http_status is not None:
        return str(error.http_status)
    cause = error.__cause__
    return error.code if cause is None else _error_type(cause)


def _context(traceparent: str | None) -> Context:
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _traceparent(span: Span) -> str:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
    return carrier["traceparent"]


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
