"""What another dialect cannot say is refused by name; what asks for nothing is left out."""

import json
from typing import Any

import pytest

from breakeven.errors import MalformedBody, Unsupported
from breakeven.wire.dialects import Dialect, outgoing, parse_request

BASE: dict[Dialect, dict[str, Any]] = {
    "openai": {"model": "m", "messages": [{"role": "user", "content": "Hello"}]},
    "anthropic": {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]},
    "responses": {"model": "m", "input": "Hello"},
}


def translate(frm: Dialect, to: Dialect, fields: dict[str, Any], **options: Any) -> dict[str, Any]:
    request = parse_request(frm, json.dumps({**BASE[frm], **fields}).encode())
    body: dict[str, Any] = json.loads(outgoing(request, to, "served", **options).body)
    return body


def said_by_user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


REFUSED: list[tuple[Dialect, Dialect, dict[str, Any], str]] = [
    ("openai", "anthropic", {"n": 2}, "n = 2"),
    ("openai", "anthropic", {"logprobs": True}, "logprobs"),
    ("openai", "anthropic", {"top_logprobs": 5}, "top_logprobs"),
    ("openai", "anthropic", {"logit_bias": {"50256": -100}}, "logit_bias"),
    ("openai", "anthropic", {"presence_penalty": 0.5}, "presence_penalty"),
    ("openai", "anthropic", {"frequency_penalty": 0.5}, "frequency_penalty"),
    ("openai", "anthropic", {"seed": 7}, "seed"),
    ("openai", "anthropic", {"temperature": 1.5}, "temperature"),
    ("openai", "anthropic", {"modalities": ["text", "audio"]}, "modalities"),
    ("openai", "anthropic", {"store": True}, "store"),
    ("openai", "anthropic", {"verbosity": "low"}, "verbosity"),
    ("openai", "anthropic", {"web_search_options": {}}, "web_search_options"),
    ("openai", "anthropic", {"service_tier": "flex"}, "service_tier"),
    ("openai", "anthropic", {"response_format": {"type": "json_object"}}, "response_format.type"),
    ("openai", "anthropic", {"response_format": {"type": "json_schema", "json_schema": {}}}, "json_schema.schema"),
    ("openai", "anthropic", {"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
    ("openai", "anthropic", {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}, r"tools\[0\].type"),
    (
        "openai",
        "anthropic",
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools"}},
        "tool_choice",
    ),
    (
        "openai",
        "anthropic",
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "sometimes"},
        "tool_choice",
    ),
    ("openai", "anthropic", said_by_user({"type": "input_audio", "input_audio": {}}), r"content\[0\].type"),
    ("openai", "anthropic", said_by_user({"type": "file", "file": {"file_id": "f"}}), "file"),
    (
        "openai",
        "anthropic",
        said_by_user({"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}),
        "file_data",
    ),
    ("openai", "anthropic", said_by_user({"type": "image_url", "image_url": {"url": "data:image/png,x"}}), "url"),
    ("openai", "anthropic", {"messages": [{"role": "user", "name": "Ann", "content": "Hello"}]}, "name"),
    ("openai", "anthropic", {"messages": [{"role": "function", "content": "Hello"}]}, "role"),
    ("openai", "anthropic", {"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
    ("openai", "anthropic", {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "audio"),
    (
        "openai",
        "anthropic",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"arguments": "{"}}]}]},
        "arguments",
    ),
    (
        "openai",
        "anthropic",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]},
        r"tool_calls\[0\].type",
    ),
    ("anthropic", "openai", {"top_k": 5}, "top_k"),
    ("anthropic", "openai", {"container": "c"}, "container"),
    ("anthropic", "openai", {"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ("anthropic", "openai", {"inference_geo": "us"}, "inference_geo"),
    ("anthropic", "openai", {"speed": "fast"}, "speed"),
    ("anthropic", "openai", {"a_field_of_tomorrow": 1}, "a_field_of_tomorrow"),
    ("anthropic", "openai", {"output_config": {"task_budget": {}}}, "task_budget"),
    ("anthropic", "openai", {"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ("anthropic", "openai", {"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
    ("anthropic", "openai", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, r"tools\[0\].type"),
    ("anthropic", "openai", {"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "defer_loading"),
    ("anthropic", "openai", {"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]}, "input_examples"),
    ("anthropic", "openai", {"tool_choice": {"type": "sometimes"}}, "tool_choice.type"),
    ("anthropic", "openai", said_by_user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "source.type"),
    ("anthropic", "openai", said_by_user({"type": "document", "source": {"type": "url", "url": "u"}}), "source.type"),
    (
        "anthropic",
        "openai",
        said_by_user({"type": "document", "source": {"type": "text"}, "citations": {"enabled": True}}),
        "citations",
    ),
    (
        "anthropic",
        "openai",
        said_by_user({"type": "document", "source": {"type": "base64", "data": "x"}, "context": "From the annex."}),
        "context",
    ),
    ("anthropic", "openai", said_by_user({"type": "search_result"}), r"content\[0\].type"),
    ("anthropic", "openai", {"system": [{"type": "image"}]}, r"system\[0\].type"),
    ("anthropic", "openai", {"system": 7}, "system"),
    ("anthropic", "openai", {"messages": [{"role": "tool", "content": "Hello"}]}, "role"),
    (
        "anthropic",
        "openai",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I"}]},
        "assistant",
    ),
    (
        "anthropic",
        "openai",
        {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
        r"content\[0\].type",
    ),
    ("responses", "openai", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("responses", "openai", {"conversation": "conv_1"}, "conversation"),
    ("responses", "openai", {"background": True}, "background"),
    ("responses", "openai", {"prompt": {"id": "p"}}, "prompt"),
    ("responses", "openai", {"store": True}, "store"),
    ("responses", "openai", {"top_logprobs": 2}, "top_logprobs"),
    ("responses", "openai", {"tools": [{"type": "web_search"}]}, r"tools\[0\].type"),
    ("responses", "openai", {"tools": [{"type": "custom", "name": "patch"}]}, r"tools\[0\].type"),
    ("responses", "openai", {"tools": [{"type": "function", "name": "f", "defer_loading": True}]}, "defer_loading"),
    ("responses", "openai", {"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ("responses", "openai", {"reasoning": {"mode": "pro"}}, "mode"),
    ("responses", "openai", {"text": {"a_field_of_tomorrow": 1}}, "a_field_of_tomorrow"),
    ("responses", "openai", {"input": [{"type": "item_reference", "id": "msg_1"}]}, r"input\[0\].type"),
    ("responses", "openai", {"input": [{"role": "tool", "content": "Hello"}]}, "role"),
    ("responses", "openai", {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
    (
        "responses",
        "openai",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input_image",
    ),
    ("responses", "openai", {"input": [{"role": "assistant", "content": [{"type": "image"}]}]}, "image"),
    ("responses", "openai", {"input": []}, "input"),
    ("responses", "anthropic", {"text": {"verbosity": "high"}}, "verbosity"),
    ("openai", "responses", {"stop": "END"}, "stop"),
    ("openai", "responses", {"seed": 7}, "seed"),
    ("openai", "responses", {"n": 2}, "n = 2"),
    ("openai", "responses", {"messages": [{"role": "user", "name": "Ann", "content": "Hello"}]}, "name"),
    ("openai", "responses", {"messages": [{"role": "function", "content": "Hello"}]}, "role"),
    ("openai", "responses", {"messages": [{"role": "assistant", "function_call": {}}]}, "function_call"),
    ("openai", "responses", {"messages": [{"role": "tool", "content": [{"type": "input_audio"}]}]}, r"content\[0\]"),
    (
        "openai",
        "responses",
        {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]},
        r"tool_calls\[0\].type",
    ),
    ("openai", "responses", said_by_user({"type": "input_audio"}), "input_audio"),
    ("openai", "responses", {"tools": [{"type": "custom"}]}, r"tools\[0\].type"),
    ("openai", "responses", {"tool_choice": {"type": "custom"}}, "tool_choice.type"),
    ("anthropic", "responses", {"stop_sequences": ["END"]}, "stop"),
]


@pytest.mark.parametrize(("frm", "to", "fields", "named"), REFUSED)
def test_what_cannot_be_said_is_refused_by_the_name_of_its_field(
    frm: Dialect, to: Dialect, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(Unsupported, match=named) as refusal:
        translate(frm, to, fields)
    assert refusal.value.status == 400
    assert refusal.value.remedy


LEFT_OUT: list[tuple[Dialect, Dialect, dict[str, Any]]] = [
    ("openai", "anthropic", {"n": 1, "logprobs": False, "presence_penalty": 0, "frequency_penalty": 0.0}),
    ("openai", "anthropic", {"logit_bias": {}, "store": False, "modalities": ["text"], "verbosity": "medium"}),
    ("openai", "anthropic", {"seed": None, "stop": None, "stop_sequences": None, "tools": [], "user": None}),
    ("openai", "anthropic", {"prompt_cache_key": "k", "prediction": {"type": "content"}, "metadata": {"a": "b"}}),
    ("openai", "anthropic", {"response_format": {"type": "text"}, "service_tier": None}),
    ("openai", "anthropic", {"tool_choice": "auto", "parallel_tool_calls": False}),
    ("openai", "anthropic", {"stream_options": {"include_usage": True}}),
    ("anthropic", "openai", {"cache_control": {"type": "ephemeral"}, "service_tier": "auto", "speed": "standard"}),
    ("anthropic", "openai", {"thinking": {"type": "adaptive"}, "stop_sequences": [], "mcp_servers": []}),
    ("anthropic", "openai", {"metadata": {"user_id": "u" * 65}, "diagnostics": {"previous_message_id": None}}),
    ("anthropic", "openai", {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}),
    ("responses", "openai", {"store": False, "background": False, "truncation": "auto", "service_tier": "auto"}),
    ("responses", "openai", {"include": ["reasoning.encrypted_content"], "metadata": {}, "reasoning": {}}),
    ("responses", "openai", {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "tools": []}),
    ("openai", "responses", {"n": 1, "stop": [], "store": False, "response_format": {"type": "text"}}),
]


@pytest.mark.parametrize(("frm", "to", "fields"), LEFT_OUT)
def test_what_asks_for_nothing_or_only_saves_work_is_left_out(
    frm: Dialect, to: Dialect, fields: dict[str, Any]
) -> None:
    assert translate(frm, to, fields) == translate(frm, to, {})


MALFORMED: list[tuple[Dialect, Dialect, dict[str, Any]]] = [
    ("openai", "anthropic", {"tools": [7]}),
    ("openai", "anthropic", {"tools": 7}),
    ("openai", "anthropic", {"messages": [{"role": "assistant", "tool_calls": 7}]}),
    ("anthropic", "openai", {"thinking": "yes"}),
    ("anthropic", "openai", {"output_config": 7}),
    ("anthropic", "openai", {"context_management": {"edits": [7]}}),
    ("responses", "openai", {"reasoning": "yes"}),
    ("responses", "anthropic", {"tools": "all"}),
]


@pytest.mark.parametrize(("frm", "to", "fields"), MALFORMED)
def test_a_field_of_another_type_than_its_dialects_is_the_callers_fault(
    frm: Dialect, to: Dialect, fields: dict[str, Any]
) -> None:
    with pytest.raises((MalformedBody, Unsupported)):
        translate(frm, to, fields)


def test_the_engine_continues_an_answer_that_is_begun() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I am"}]
    assert translate("anthropic", "openai", {"messages": turns}, engine=True)["messages"] == turns


def test_thinking_follows_what_was_asked_for() -> None:
    def effort(**fields: Any) -> Any:
        return translate("anthropic", "openai", {"max_tokens": 64_000, **fields}).get("reasoning_effort")

    assert effort(thinking={"type": "enabled", "budget_tokens": 2000}) == "low"
    assert effort(thinking={"type": "enabled", "budget_tokens": 10_000}) == "medium"
    assert effort(thinking={"type": "enabled", "budget_tokens": 32_000}) == "high"
    assert effort(thinking={"type": "enabled", "budget_tokens": 2000}, output_config={"effort": "max"}) == "max"
    assert effort(thinking={"type": "disabled"}) == "none"
    assert effort(thinking={"type": "adaptive"}) is None


def test_effort_becomes_thinking_unless_a_tool_is_forced() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    free = translate("openai", "anthropic", {"reasoning_effort": "minimal"})
    assert (free["output_config"], free["thinking"]) == ({"effort": "low"}, {"type": "adaptive"})
    forced = translate("openai", "anthropic", {"reasoning_effort": "high", "tools": tools, "tool_choice": "required"})
    assert "thinking" not in forced
    off = translate("openai", "anthropic", {"reasoning_effort": "none"})
    assert off["thinking"] == {"type": "disabled"}
    assert "output_config" not in off


def test_images_in_a_tools_result_stay_in_it_where_the_dialect_can_say_so() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    made = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Here:"}, image]},
    ]
    (result,) = translate("openai", "anthropic", {"messages": turns})["messages"][-1]["content"]
    assert [block["type"] for block in result["content"]] == ["text", "image"]
    output = translate("openai", "responses", {"messages": turns})["input"][-1]["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]
