"""Whatever fits our OpenAPI document, and much that does not, is answered without a fault of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from tests.fakes import cloud
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, SimulatedCloud
from tests.gateway.conftest import RunningGateway, run_gateway

from breakeven.agents import database, runs
from breakeven.agents.inbox import Inbox
from breakeven.gateway.asgi import gateway_fault
from breakeven.gateway.openapi import document

FAULT = str(gateway_fault())
TEXT = {"type": "string"}
OBJECT = {"type": "object"}


def one_of(*words: str) -> dict[str, Any]:
    return {"enum": list(words)}


def record(**properties: Any) -> dict[str, Any]:
    """An object; what is not marked as optional is required."""
    required = [name for name in properties if not name.startswith("_")]
    known = {name.removeprefix("_"): schema for name, schema in properties.items()}
    return {"type": "object", "required": required, "properties": known}


def listed(items: Any, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": 3}


def either(*schemas: Any) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


CHAT_PART = record(type=one_of("text", "image_url", "file", "refusal"), _text=TEXT, _image_url=either(OBJECT, TEXT))
CHAT_CALL = record(id=TEXT, type=one_of("function"), function=record(name=TEXT, arguments=TEXT))
CHAT_MESSAGE = record(
    role=one_of("system", "developer", "user", "assistant", "tool"),
    content=either(TEXT, listed(CHAT_PART), {"type": "null"}),
    _tool_calls=listed(CHAT_CALL),
    _tool_call_id=TEXT,
)
BLOCK = record(
    type=one_of("text", "image", "tool_use", "tool_result", "thinking", "document"),
    _text=TEXT, _thinking=TEXT, _signature=TEXT, _source=OBJECT, _id=TEXT, _tool_use_id=TEXT, _name=TEXT,
    _input=OBJECT, _content=either(TEXT, listed(OBJECT)), _cache_control=record(type=one_of("ephemeral")),
)  # fmt: skip
ITEM = either(
    record(role=one_of("system", "user", "assistant"), content=either(TEXT, listed(record(type=TEXT, _text=TEXT)))),
    record(type=one_of("function_call"), call_id=TEXT, name=TEXT, arguments=TEXT),
    record(type=one_of("function_call_output"), call_id=TEXT, output=TEXT),
    record(type=one_of("reasoning"), summary=listed(OBJECT)),
)
FIELDS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": listed(CHAT_MESSAGE, 1),
        "tools": listed(record(type=one_of("function"), function=record(name=TEXT, _parameters=OBJECT))),
        "tool_choice": either(one_of("auto", "none", "required"), OBJECT),
        "response_format": either(record(type=one_of("text", "json_object")), record(type=one_of("json_schema"))),
        "max_tokens": {"type": "integer"},
        "stop": either(TEXT, listed(TEXT)),
    },
    "/v1/messages": {
        "messages": listed(record(role=one_of("user", "assistant"), content=either(TEXT, listed(BLOCK))), 1),
        "system": either(TEXT, listed(record(type=one_of("text"), text=TEXT))),
        "tools": listed(record(name=TEXT, input_schema=OBJECT)),
        "tool_choice": record(type=one_of("auto", "any", "tool", "none"), _name=TEXT),
        "thinking": record(type=one_of("enabled", "disabled", "adaptive"), _budget_tokens={"type": "integer"}),
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 64},
    },
    "/v1/responses": {
        "input": either(TEXT, listed(ITEM, 1)),
        "tools": listed(record(type=one_of("function"), name=TEXT, _parameters=OBJECT)),
        "text": record(format=either(record(type=one_of("text", "json_object")), record(type=one_of("json_schema")))),
        "reasoning": OBJECT,
    },
    "/v1/embeddings": {"input": either(TEXT, listed(TEXT, 1), listed({"type": "integer"}, 1))},
}
"""Shapes near enough to each dialect's that many requests come as far as translation and the providers."""


def deepened(found: dict[str, Any]) -> dict[str, Any]:
    """Our document with names that are served, and with those shapes, for the generator of requests."""
    for path, operations in found["paths"].items():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "properties" in content["schema"]:
                    content["schema"]["properties"] |= {
                        "model": one_of("gpt", "claude", "embed", "auto"),
                        **FIELDS.get(path, {}),
                    }
            labels = [label for label in operation.get("parameters", []) if "deadline" not in label["name"]]
            for label in labels:
                if label["name"] == "agent" and label["in"] == "path":
                    label["schema"] = one_of("triage", "night", "nobody")
            operation["parameters"] = labels
    return found


schema = schemathesis.openapi.from_dict(deepened(document()))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    home = tmp_path_factory.mktemp("home")
    agents = database.connect(None, home)
    database.migrate(agents)
    with agents.begin() as connection:
        runs.remember(connection, "triage", 0.0, takes_items=True)
        runs.remember(connection, "night", 0.0, takes_items=False)
    with (
        cloud.running() as sim,
        closing(Inbox(agents)) as inbox,
        run_gateway(configuration(sim), home, {"K": "sk-k"}, inbox=inbox) as running,
    ):
        yield running


def configuration(sim: SimulatedCloud) -> dict[str, Any]:
    remote = {"base_url": f"{sim.url}/v1", "locality": "remote", "key": "env:K"}
    return {
        "policy": {"default_data": "shareable", "retries": 0, "breaker_failures": 1_000_000, "auto": ["gpt", "claude"]},
        "providers": {"openai": {**remote, "responses": True}, "anthropic": {**remote, "dialect": "anthropic"}},
        "models": {
            "gpt": {"provider": "openai", "model": GPT},
            "claude": {"provider": "anthropic", "model": CLAUDE},
            "embed": {"provider": "openai", "model": EMBEDDER},
        },
        "tasks": {"summarise": {"models": ["gpt", "claude"]}},
    }


@schema.parametrize()
@settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_nothing_that_fits_the_document_is_a_fault_of_ours(case: schemathesis.Case, gateway: RunningGateway) -> None:
    answer = case.call(base_url=gateway.url)
    assert answer.status_code != 500, answer.text
    assert FAULT not in answer.text


def test_no_endpoint_is_left_out(gateway: RunningGateway) -> None:
    nowhere = httpx2.get(f"{gateway.url}/nowhere").json()
    served = set(nowhere["error"]["remedy"].removeprefix("Served are ").removesuffix(".").split(", "))
    tried = {operation.ok().path for operation in schema.get_all_operations()}
    assert tried == served == set(document()["paths"])


def test_the_document_is_what_is_served(gateway: RunningGateway) -> None:
    assert httpx2.get(f"{gateway.url}/openapi.json").json() == document()
