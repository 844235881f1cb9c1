"""The JSON schema that a request wants its answer to fit."""

from __future__ import annotations

from breakeven.wire.body import Json, as_object
from breakeven.wire.request import ModelRequest


def requested_schema(request: ModelRequest) -> Json | None:
    """The schema, wherever the request's dialect has it; ``None`` when it wants none."""
    document = request.document
    schema: object = None
    match request.dialect:
        case "openai":
            schema = as_object(as_object(document.get("response_format")).get("json_schema")).get("schema")
        case "anthropic":
            output = as_object(as_object(document.get("output_config")).get("format"))
            schema = (output or as_object(document.get("output_format"))).get("schema")
        case "responses":
            schema = as_object(as_object(document.get("text")).get("format")).get("schema")
    return schema if isinstance(schema, dict) else None
