"""OpenTelemetry spans of generative AI, as OTLP JSON: ``resourceSpans`` in one document or one to a line.

- ``gen_ai.usage.input_tokens`` includes cached tokens, read and written; the convention says so since 2026, and
  ``--input-excludes-cached`` reads instrumentation that does not keep to it.
- A span that says nothing of the cache leaves the cached part unknown.
- Only spans of calls to a model count. Those of agents, tools and workflows repeat what their calls used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import checked_moment, count, native_id, on_this_machine
from breakeven.ledger.importers.found import CACHED_FLAG, Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call, Durations

NAME = "otel"
NANOSECONDS = 10**9
CALLS = {"chat", "text_completion", "generate_content", "embeddings", ""}
"""Values of ``gen_ai.operation.name`` that are calls to a model; old instrumentation names none."""
FAILED = {2, "2", "STATUS_CODE_ERROR"}
CATALOGUE = {
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "az.ai.openai": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
"""The convention's name of a provider → the price book's, where they differ."""
Attributes = Mapping[str, Any]


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | None = None


class _Attribute(msgspec.Struct):
    key: str
    value: _Value | None = None


class _Status(msgspec.Struct):
    code: int | str | None = None


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    start_time_unix_nano: int | str
    end_time_unix_nano: int | str | None = None
    attributes: list[_Attribute] = []
    status: _Status | None = None


class _Scope(msgspec.Struct):
    spans: list[msgspec.Raw] = []


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] = []
    instrumentation_library_spans: list[_Scope] = []


class _Export(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource]


_export = msgspec.json.Decoder(_Export)
_span = msgspec.json.Decoder(_Span)


def sniff(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """OTLP's outermost key."""
    return 1.0 if b'"resourceSpans"' in head else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:
    """A call for each span of a call to a model."""
    includes_cached = options.input_includes_cached is not False
    for number, document in file.documents():
        try:
            resources = _export.decode(document).resource_spans
        except msgspec.DecodeError as error:
            yield Problem(number, str(error))
            continue
        for resource in resources:
            for scope in (*resource.scope_spans, *resource.instrumentation_library_spans):
                for raw in scope.spans:
                    try:
                        yield _call(_span.decode(raw), includes_cached=includes_cached)
                    except (msgspec.DecodeError, ValueError, InputError) as error:
                        yield Problem(number, str(error))


def _call(span: _Span, *, includes_cached: bool) -> Call | LeftOut:
    attributes = {one.key: _plain(one.value) for one in span.attributes if one.value is not None}
    operation = str(attributes.get("gen_ai.operation.name") or "")
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
    if operation not in CALLS or model is None:
        return LeftOut("spans that are no call to a model")
    tokens = _tokens(attributes, includes_cached=includes_cached)
    failed = span.status is not None and span.status.code in FAILED
    if tokens is None and not failed:
        return LeftOut("calls without usage")
    started = _nanoseconds(span.start_time_unix_nano)
    ended = None if span.end_time_unix_nano is None else _nanoseconds(span.end_time_unix_nano)
    named = str(attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system") or "unknown")
    address = attributes.get("server.address")
    local = isinstance(address, str) and on_this_machine(address)
    error = attributes.get("error.type")
    return imported_call(
        NAME,
        _identity(span, attributes),
        at=checked_moment(started / NANOSECONDS),
        endpoint=operation or "chat",
        provider=CATALOGUE.get(named, named),
        model=str(model),
        model_asked=str(attributes.get("gen_ai.request.model") or model),
        tokens=tokens,
        locality="local" if local else "remote",
        counted_by="engine" if local else "provider",
        outcome="failed" if failed else "completed",
        durations=Durations(
            total=None if ended is None else max(0, ended - started) / NANOSECONDS,
            first_token=_optional_seconds(attributes.get("gen_ai.response.time_to_first_chunk")),
        ),
        agent=_text(attributes.get("gen_ai.agent.name")),
        error=None if error is None else str(error),
    )


def _identity(span: _Span, attributes: Attributes) -> str:
    """By the response where it is named: a framework and the client below it may both write a span for it."""
    response = attributes.get("gen_ai.response.id")
    return native_id(NAME, str(response)) if response else native_id(NAME, span.trace_id, span.span_id)


def _tokens(attributes: Attributes, *, includes_cached: bool) -> TokenCounts | None:
    def usage(*names: str) -> int | None:
        return next((count(attributes[key]) for name in names if (key := f"gen_ai.usage.{name}") in attributes), None)

    prompt, output = usage("input_tokens", "prompt_tokens"), usage("output_tokens", "completion_tokens")
    if prompt is None and output is None:
        return None
    read = usage("cache_read.input_tokens", "cache_read_input_tokens", "input_tokens.cached")
    written = usage("cache_creation.input_tokens", "cache_creation_input_tokens", "input_tokens.cache_write")
    if prompt is None:
        raise ValueError("output tokens without input tokens")
    return TokenCounts.reported(
        input_tokens=prompt,
        output_tokens=output or 0,
        input_includes_cached=includes_cached,
        cache_read=read or 0,
        cache_write_5m=written or 0,
        reasoning=usage("reasoning.output_tokens", "output_tokens.reasoning"),
        cache_known=read is not None or written is not None,
    )


def _plain(value: _Value) -> str | int | float | None:
    if value.int_value is not None:
        return value.int_value
    return value.string_value if value.string_value is not None else value.double_value


def _nanoseconds(value: int | str) -> int:
    return int(value)


def _optional_seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


IMPORTER = Importer(
    NAME, "OpenTelemetry spans of generative AI (OTLP JSON)", sniff, read, flags=frozenset({CACHED_FLAG})
)
