"""Where OpenTelemetry spans go: to the collector that the standard ``OTEL_…`` variables name.

The packages are optional; nothing imports them until spans are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breakeven.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


def to_collector(setting: str) -> SpanProcessor:
    """Sends spans in batches.

    Args:
        setting: that asks for them, for the error.

    Raises:
        InputError: the optional packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"{setting} = true: the OpenTelemetry packages are not installed", remedy="pip install 'breakeven[otel]'"
        ) from error
    return BatchSpanProcessor(OTLPSpanExporter())
