"""``GET /openapi.json``: the gateway's own description, with what it checks itself; the rest is each dialect's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from breakeven import __version__
from breakeven.gateway.asgi import Receive, Scope, Send, respond_json
from breakeven.gateway.desk import Desk
from breakeven.gateway.items import LEAST_PRIORITY, MOST_ITEMS, MOST_KEY_CHARACTERS, MOST_PRIORITY

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_MESSAGES = {"type": "array", "minItems": 1, "items": _OBJECT}
_STREAM = {"type": ["boolean", "null"]}
_MODEL = {"type": "string", "minLength": 1, "description": "A name from /v1/models, `auto`, or `task:NAME`."}
_NAMED = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
_LABELS = [
    {"name": f"x-breakeven-{name}", "in": "header", "schema": schema, "description": text}
    for name, schema, text in (
        ("task", _TEXT, "What the call is for."),
        ("agent", _TEXT, "Who calls."),
        ("chain", _TEXT, "The chain of calls that this one is a step of."),
        ("data", {"type": "string", "enum": ["local_only", "shareable"]}, "Whether its data may leave the machine."),
        ("priority", {"type": "string", "enum": ["interactive", "agent", "batch"]}, "Place in the box's queue."),
        ("deadline-seconds", {"type": "number", "exclusiveMinimum": 0}, "Time for the whole answer."),
        ("idempotency-key", {"type": "string", "pattern": "^[!-~]{1,200}$"}, "As `Idempotency-Key`."),
    )
]


async def answer(_desk: Desk, _scope: Scope, _receive: Receive, send: Send) -> None:
    """The document."""
    await respond_json(send, document())


def document() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "breakeven", "version": __version__, "license": {"name": "Apache-2.0"}},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
        "paths": {
            "/v1/chat/completions": _call("OpenAI chat completions", ("model", "messages"), messages=_MESSAGES),
            "/v1/responses": _call("OpenAI responses", ("model", "input"), input={"type": ["string", "array"]}),
            "/v1/messages": _call(
                "Anthropic messages",
                ("model", "messages", "max_tokens"),
                messages=_MESSAGES,
                max_tokens={"type": "integer", "minimum": 1},
            ),
            "/v1/messages/count_tokens": _call("Count without running", ("model", "messages"), messages=_MESSAGES),
            "/v1/embeddings": _call("Embeddings", ("model", "input"), input={"type": ["string", "array"]}),
            "/admin/explain": _call("The plan of a request that is not sent", ("model",)),
            "/agents/{agent}/items": _put_items(),
            "/v1/models": _read("Names that may be asked for"),
            "/v1/models/{model}": _read("One of them", {"404": _answer("No such model")}, _NAMED),
            "/": _read("Whether somebody is there"),
            "/api/hello": _read("Whether somebody is there"),
            "/openapi.json": _read("This document"),
            "/health": _read("Whether the process lives"),
            "/ready": _read("Whether calls can be served, and why not", {"503": _answer("Not ready")}),
            "/metrics": _read("Prometheus metrics"),
            "/admin": _read("Providers, breakers, budgets, box and books"),
            "/admin/decisions": _read("The latest calls and why they went where they went"),
        },
    }


def _call(summary: str, required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    known = {"model": _MODEL, "stream": _STREAM, **properties}
    schema = {"type": "object", "required": list(required), "properties": known, "additionalProperties": True}
    refusals = {
        "400": "What the request says cannot be read or served",
        "401": "The key is missing or unknown",
        "402": "A budget is spent",
        "403": "The data must not leave the machine and nothing here can serve the call",
        "404": "No such model",
        "409": "The answer under this Idempotency-Key was too long to be kept",
        "413": "The body is too long",
        "422": "The same Idempotency-Key was used for another request",
        "429": "A rate limit",
        "502": "Whoever was asked failed",
        "503": "Nobody can serve the call now, or it could not be booked",
        "504": "The deadline has passed",
    }
    return {
        "post": {
            "summary": summary,
            "parameters": _LABELS,
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {"200": _answer("The answer"), **{code: _answer(text) for code, text in refusals.items()}},
        }
    }


def _put_items() -> dict[str, Any]:
    item = {
        "type": "object",
        "required": ["payload"],
        "properties": {
            "payload": {"description": "What the agent works on."},
            "key": {"type": ["string", "null"], "minLength": 1, "maxLength": MOST_KEY_CHARACTERS},
            "priority": {"type": "integer", "minimum": LEAST_PRIORITY, "maximum": MOST_PRIORITY, "default": 0},
        },
        "additionalProperties": False,
    }
    schema = {"oneOf": [item, {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "items": item}]}
    refusals = {
        "400": "The body is no item, or the agent takes none",
        "401": "The key is missing or unknown",
        "403": "The key is limited to another agent",
        "404": "Nobody has run this agent here",
        "413": "The body is too long",
        "429": "A rate limit",
        "503": "The agents' database does not answer",
    }
    return {
        "post": {
            "summary": "Give an agent items to work on, each once under its key",
            "parameters": [
                {"name": "agent", "in": "path", "required": True, "schema": _TEXT},
                {
                    "name": "idempotency-key",
                    "in": "header",
                    "schema": _TEXT,
                    "description": "Names items without a key.",
                },
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "202": _answer("How many are new"),
                **{code: _answer(text) for code, text in refusals.items()},
            },
        }
    }


def _read(summary: str, more: dict[str, Any] | None = None, parameters: Sequence[Any] = ()) -> dict[str, Any]:
    responses = {"200": _answer("As described"), "401": _answer("The key is missing or unknown"), **(more or {})}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


def _answer(text: str) -> dict[str, Any]:
    return {"description": text}
