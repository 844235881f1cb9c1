"""OpenTelemetry spans by the GenAI conventions, made from the record of a call as it enters the books.

Prompts and answers are never part of them: the record has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call
from breakeven.telemetry import to_collector

SERVICE = "breakeven"
_OPERATIONS = {"/v1/embeddings": "embeddings"}


@contextmanager
def exporting_spans() -> Iterator[Callable[[Call], None]]:
    """Send spans to the collector that the standard ``OTEL_…`` variables name, until left.

    Raises:
        InputError: the optional packages are not installed.
    """
    processor = to_collector("gateway.traces")
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(processor)
    try:
        yield Spans(provider.get_tracer(SERVICE)).observe
    finally:
        provider.shutdown()


class Spans:
    """Writes one span a call and, below it, one an attempt."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def observe(self, call: Call) -> None:
        """Write the spans of a call, below that of its caller if it told of one."""
        from opentelemetry import trace  # noqa: PLC0415 - optional
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        operation = _OPERATIONS.get(call.endpoint, "chat")
        ends = [_end(attempt) for attempt in call.attempts]
        span = self._tracer.start_span(
            f"{operation} {call.model}",
            context=TraceContextTextMapPropagator().extract({"traceparent": call.traceparent or ""}, Context()),
            kind=trace.SpanKind.SERVER,
            start_time=_nanoseconds(call.received_at),
            attributes=_known(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.request.model": call.model,
                    "breakeven.call.id": call.id,
                    "breakeven.task": call.task,
                    "gen_ai.agent.name": call.agent,
                    "breakeven.outcome": call.outcome,
                }
            ),
        )
        if call.outcome != "completed":
            span.set_status(trace.StatusCode.ERROR, call.outcome)
        within = trace.set_span_in_context(span)
        for attempt, end in zip(call.attempts, ends, strict=True):
            child = self._tracer.start_span(
                f"{operation} {attempt.model_asked}",
                context=within,
                kind=trace.SpanKind.CLIENT,
                start_time=_nanoseconds(attempt.started_at),
                attributes=_known({"gen_ai.operation.name": operation, **_attempt_attributes(attempt)}),
            )
            if attempt.error is not None:
                child.set_status(trace.StatusCode.ERROR, attempt.error)
            child.end(end)
        span.end(max(ends, default=_nanoseconds(call.received_at)))


def _attempt_attributes(attempt: Attempt) -> dict[str, Any]:
    tokens = attempt.tokens if isinstance(attempt.tokens, TokenCounts) else None
    cost = attempt.cost
    return {
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model_asked,
        "gen_ai.response.model": attempt.model_served,
        "gen_ai.usage.input_tokens": tokens and tokens.input,
        "gen_ai.usage.output_tokens": tokens and tokens.output,
        "gen_ai.usage.cache_read.input_tokens": tokens and tokens.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": tokens and tokens.cache_write_5m + tokens.cache_write_1h,
        "error.type": attempt.error,
        "breakeven.locality": attempt.locality,
        "breakeven.reason": attempt.reason,
        "breakeven.cost_usd": None if cost is None else float(cost),
        "breakeven.watt_hours": attempt.watt_hours,
    }


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _end(attempt: Attempt) -> int:
    return _nanoseconds(attempt.started_at + (attempt.durations.total or 0.0))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
