"""What is read of a request, and what is changed of it on its way to a server of its own dialect."""

import json
from typing import Any

import pytest

from breakeven.errors import BreakevenError, MalformedBody
from breakeven.wire.dialects import (
    Dialect,
    ModelRequest,
    count_document,
    outgoing,
    outgoing_count,
    parse_count_request,
    parse_request,
)
from breakeven.wire.request import MEDIA_BYTES

HELLO: dict[Dialect, dict[str, Any]] = {
    "openai": {"model": "m", "messages": [{"role": "user", "content": "Hello"}]},
    "anthropic": {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]},
    "responses": {"model": "m", "input": "Hello"},
}
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "responses")


def parse(dialect: Dialect, **fields: Any) -> ModelRequest:
    return parse_request(dialect, json.dumps({**HELLO[dialect], **fields}).encode())


def sent(request: ModelRequest, to: Dialect, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(outgoing(request, to, "served", **options).body)
    return body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_tells_its_model_and_whether_it_streams(dialect: Dialect) -> None:
    request = parse(dialect, stream=True)
    assert (request.dialect, request.model, request.stream) == (dialect, "m", True)
    assert not parse(dialect).stream


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("fields", "named"), [({"model": ""}, "model"), ({"model": 7}, "model"), ({"stream": "yes"}, "stream")]
)
def test_what_the_gateway_relies_on_is_checked_and_named(dialect: Dialect, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedBody, match=named):
        parse(dialect, **fields)


@pytest.mark.parametrize(
    ("dialect", "fields", "named"),
    [
        ("anthropic", {"max_tokens": None}, "max_tokens"),
        ("anthropic", {"max_tokens": True}, "max_tokens"),
        ("anthropic", {"max_tokens": 0}, "max_tokens"),
        ("anthropic", {"messages": []}, "messages"),
        ("anthropic", {"messages": ["Hello"]}, r"messages\[0\]"),
        ("responses", {"input": 7}, "input"),
        ("responses", {"input": ["Hello"]}, r"input\[0\]"),
        ("responses", {"max_output_tokens": "many"}, "max_output_tokens"),
        ("openai", {"stream_options": True}, "stream_options"),
    ],
)
def test_what_a_dialect_requires_is_checked_and_named(dialect: Dialect, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedBody, match=named):
        parse(dialect, **fields)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("openai", {"max_completion_tokens": 50}),
        ("openai", {"max_tokens": 50}),
        ("anthropic", {"max_tokens": 50}),
        ("responses", {"max_output_tokens": 50}),
    ],
)
def test_the_limit_on_output_is_read(dialect: Dialect, fields: dict[str, Any]) -> None:
    assert parse(dialect, **fields).max_output_tokens == 50


def test_servers_that_take_a_negative_limit_to_mean_none_are_sent_it() -> None:
    request = parse("openai", max_tokens=-1)
    assert request.max_output_tokens is None
    assert sent(request, "openai")["max_tokens"] == -1


def test_several_choices_are_counted() -> None:
    assert parse("openai", n=4).choices == 4
    assert parse("openai").choices == 1


IMAGE = "data:image/png;base64," + "A" * 100_000
NEEDS: list[tuple[Dialect, dict[str, Any], set[str]]] = [
    ("openai", {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
    ("openai", {"response_format": {"type": "json_schema"}}, {"json_schema"}),
    ("openai", {"response_format": {"type": "json_object"}}, {"json"}),
    ("openai", {"reasoning_effort": "high"}, {"reasoning"}),
    ("openai", {"reasoning_effort": "none"}, set()),
    ("openai", {"logprobs": True}, {"logprobs"}),
    ("openai", {"modalities": ["text", "audio"]}, {"audio"}),
    ("openai", {"web_search_options": {}}, {"hosted_tools"}),
    (
        "openai",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]},
        {"vision"},
    ),
    (
        "openai",
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]}]},
        {"audio"},
    ),
    ("openai", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, {"files"}),
    ("anthropic", {"tools": [{"name": "f", "input_schema": {}}]}, {"tools"}),
    ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"hosted_tools"}),
    ("anthropic", {"mcp_servers": [{"type": "url"}]}, {"hosted_tools"}),
    ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning"}),
    ("anthropic", {"thinking": {"type": "adaptive"}}, set()),
    ("anthropic", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, {"json_schema"}),
    (
        "anthropic",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}]},
        {"vision"},
    ),
    (
        "anthropic",
        {
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]}
            ]
        },
        {"vision"},
    ),
    (
        "anthropic",
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
        {"files"},
    ),
    (
        "anthropic",
        {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "words"}}]}
            ]
        },
        set(),
    ),
    ("responses", {"tools": [{"type": "function", "name": "f"}]}, {"tools"}),
    ("responses", {"tools": [{"type": "web_search"}]}, {"hosted_tools"}),
    ("responses", {"previous_response_id": "resp_1"}, {"stored_state"}),
    ("responses", {"background": True}, {"stored_state"}),
    ("responses", {"text": {"format": {"type": "json_schema"}}}, {"json_schema"}),
    ("responses", {"text": {"format": {"type": "json_object"}}}, {"json"}),
    ("responses", {"reasoning": {"effort": "low"}}, {"reasoning"}),
    ("responses", {"top_logprobs": 3}, {"logprobs"}),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]}, {"vision"}),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]}, {"files"}),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, {"audio"}),
]


@pytest.mark.parametrize(("dialect", "fields", "needs"), NEEDS)
def test_a_request_tells_what_whoever_answers_must_be_able_to_do(
    dialect: Dialect, fields: dict[str, Any], needs: set[str]
) -> None:
    assert parse(dialect, **fields).needs == needs


WORDS = "x" * 100
SAID: list[tuple[Dialect, dict[str, Any]]] = [
    ("openai", {"messages": [{"role": "system", "content": WORDS}, {"role": "user", "content": WORDS}]}),
    (
        "openai",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": WORDS}]},
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": WORDS}}]},
            ]
        },
    ),
    ("anthropic", {"system": [{"type": "text", "text": WORDS}], "messages": [{"role": "user", "content": WORDS}]}),
    (
        "anthropic",
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "thinking", "thinking": WORDS}]},
                {"role": "user", "content": [{"type": "tool_result", "content": WORDS}]},
            ]
        },
    ),
    ("responses", {"instructions": WORDS, "input": WORDS}),
    (
        "responses",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": WORDS}]},
                {"type": "function_call_output", "output": WORDS},
            ]
        },
    ),
]


@pytest.mark.parametrize(("dialect", "fields"), SAID)
def test_all_text_of_a_prompt_is_counted_in_every_dialect(dialect: Dialect, fields: dict[str, Any]) -> None:
    request = parse(dialect, **fields)
    assert request.text_characters() == 2 * len(WORDS)
    assert request.prompt_bytes() >= request.text_characters()
    assert request.prefix_text(10_000) == f"{WORDS}\x1e{WORDS}"
    assert request.prefix_text(150) == request.prefix_text(10_000)[:150]


def test_tools_lead_the_prefix() -> None:
    request = parse("anthropic", tools=[{"name": "get_weather", "input_schema": {}}])
    assert "get_weather" in request.prefix_text(1000)
    assert request.prefix_text(1000).endswith("\x1eHello")
    assert len(request.prefix_text(5)) == 5


def test_the_line_that_claude_code_changes_with_each_call_is_no_part_of_the_prefix() -> None:
    def with_hash(value: str) -> ModelRequest:
        system = [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cch={value};"},
            {"type": "text", "text": "You are Claude Code."},
        ]
        return parse("anthropic", system=system)

    one, other = with_hash("aaa"), with_hash("bbb")
    assert one.prefix_text(1000) == other.prefix_text(1000)
    assert sent(one, "openai") == sent(other, "openai")
    assert sent(one, "openai")["messages"][0] == {"role": "system", "content": "You are Claude Code."}
    assert sent(one, "anthropic") != sent(other, "anthropic")


def test_an_image_counts_as_tokens_not_as_the_bytes_of_its_encoding() -> None:
    content = [{"type": "image_url", "image_url": {"url": IMAGE}}]
    request = parse("openai", messages=[{"role": "user", "content": content}])
    assert MEDIA_BYTES < request.prompt_bytes() < MEDIA_BYTES + 200


def test_a_file_by_reference_counts_though_nothing_of_it_is_in_the_body() -> None:
    content = [{"type": "document", "source": {"type": "url", "url": "https://example.org/report.pdf"}}]
    assert parse("anthropic", messages=[{"role": "user", "content": content}]).prompt_bytes() > MEDIA_BYTES


@pytest.mark.parametrize("dialect", DIALECTS)
def test_in_its_own_dialect_a_body_changes_only_in_model_and_streaming(dialect: Dialect) -> None:
    unknown = {"a_field_of_tomorrow": {"deep": [1, None]}, "metadata": {"team": "a"}}
    request = parse(dialect, **unknown)
    changed = {"model": "served", "stream": True}
    if dialect == "openai":
        changed["stream_options"] = {"include_usage": True}
    assert sent(request, dialect) == {**HELLO[dialect], **unknown, **changed}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_labels_for_our_books_are_not_sent_on(dialect: Dialect) -> None:
    assert "metadata" not in sent(parse(dialect, metadata={"task": "tag", "agent": "a"}), dialect)
    kept = sent(parse(dialect, metadata={"task": "tag", "user_id": "u"}), dialect)
    assert kept["metadata"] == {"user_id": "u"}


LIMITS: list[tuple[Dialect, dict[str, Any], str]] = [
    ("openai", {"max_completion_tokens": 500}, "max_completion_tokens"),
    ("anthropic", {"max_tokens": 500}, "max_tokens"),
    ("responses", {"max_output_tokens": 500}, "max_output_tokens"),
]


@pytest.mark.parametrize(("dialect", "fields", "field"), LIMITS)
@pytest.mark.parametrize("to", DIALECTS)
def test_a_cap_lowers_the_limit_and_never_raises_it(
    dialect: Dialect, fields: dict[str, Any], field: str, to: Dialect
) -> None:
    sent_as = {"openai": "max_completion_tokens", "anthropic": "max_tokens", "responses": "max_output_tokens"}[to]
    request = parse(dialect, **fields)
    assert sent(request, to, cap_output=100)[sent_as] == 100
    assert sent(request, to, cap_output=900)[sent_as] == 500
    assert sent(request, to)[sent_as] == 500


def test_a_cap_replaces_the_limit_by_the_name_that_the_server_knows() -> None:
    request = parse("openai", max_completion_tokens=500)
    capped = sent(request, "openai", cap_output=100, limit_field="max_tokens")
    assert capped["max_tokens"] == 100
    assert "max_completion_tokens" not in capped
    assert sent(parse("openai"), "openai", cap_output=100)["max_completion_tokens"] == 100


def test_the_engine_is_asked_for_its_timings_and_nobody_else() -> None:
    assert sent(parse("anthropic"), "openai", engine=True)["timings_per_token"] is True
    assert "timings_per_token" not in sent(parse("anthropic"), "openai")


def test_thinking_that_anthropic_did_not_sign_is_not_sent_to_its_models() -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "local", "signature": ""}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "local", "signature": ""},
                {"type": "thinking", "thinking": "theirs", "signature": "EqQB"},
                {"type": "text", "text": "Hi"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "Go on", "cache_control": {"type": "ephemeral"}}]},
    ]
    messages = sent(parse("anthropic", messages=turns), "anthropic")["messages"]
    assert messages == [turns[0], {**turns[2], "content": turns[2]["content"][1:]}, turns[3]]


def test_reasoning_of_other_models_is_not_sent_to_openai() -> None:
    items = [
        {"type": "reasoning", "id": "rs_translated_1", "summary": []},
        {"type": "reasoning", "id": "rs_0f", "summary": [], "encrypted_content": "gAAA"},
        {"role": "user", "content": "Hello"},
    ]
    assert sent(parse("responses", input=items), "responses")["input"] == items[1:]


def test_counting_tokens_needs_no_limit_and_asks_for_no_stream() -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hello"}], "metadata": {"task": "tag"}}
    request = parse_count_request(json.dumps(body).encode())
    counting = outgoing_count(request, "served")
    assert counting.path == "/messages/count_tokens"
    assert json.loads(counting.body) == {"model": "served", "messages": body["messages"]}
    assert count_document(7) == {"input_tokens": 7}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"7", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(dialect: Dialect, body: bytes) -> None:
    with pytest.raises(BreakevenError):
        parse_request(dialect, body)
