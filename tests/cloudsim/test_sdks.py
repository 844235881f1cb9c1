"""The official SDKs accept what the simulated cloud says, plain and streamed, and both add up to the same."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
import pytest
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, PRICES, SimulatedCloud

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Ticket(pydantic.BaseModel):
    title: str
    urgent: bool
    tags: list[str]


def test_chat_plain_and_streamed_say_the_same(openai_client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Sum up the year."}]
    whole = openai_client.chat.completions.create(model=GPT, messages=messages)
    with openai_client.chat.completions.stream(
        model=GPT, messages=messages, stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert whole.choices[0].message.content == streamed.choices[0].message.content
    assert whole.usage == streamed.usage
    assert whole.choices[0].finish_reason == "stop"
    assert len(whole.choices[0].message.content.split()) == whole.usage.completion_tokens


def test_chat_calls_a_tool_with_arguments_of_its_schema(openai_client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
    messages = [{"role": "user", "content": "Rain? [sim:tool]"}]
    whole = openai_client.chat.completions.create(model=GPT, messages=messages, tools=[tool])
    with openai_client.chat.completions.stream(model=GPT, messages=messages, tools=[tool]) as stream:
        streamed = stream.get_final_completion()
    (call,) = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls"
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert streamed.choices[0].message.tool_calls[0].function.arguments == call.function.arguments


def test_chat_answers_a_tools_result_in_words(openai_client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    whole = openai_client.chat.completions.create(
        model=GPT,
        tools=[tool],
        messages=[
            {"role": "user", "content": "Rain? [sim:tool]"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "[sim:tool] sunny"},
        ],
    )
    assert whole.choices[0].message.content
    assert not whole.choices[0].message.tool_calls


def test_chat_parses_structured_output(openai_client: openai.OpenAI) -> None:
    parsed = openai_client.chat.completions.parse(
        model=GPT, messages=[{"role": "user", "content": "A ticket."}], response_format=Ticket
    )
    assert isinstance(parsed.choices[0].message.parsed, Ticket)


def test_chat_stops_at_its_limit_and_at_a_stop_sequence(openai_client: openai.OpenAI) -> None:
    short = openai_client.chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "[sim:tokens=50]"}], max_completion_tokens=7
    )
    stopped = openai_client.chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "[sim:say=one two three]"}], stop="two"
    )
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 7)
    assert (stopped.choices[0].finish_reason, stopped.choices[0].message.content) == ("stop", "one ")


def test_reasoning_is_counted_within_output_and_kept_to_itself(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "Think."}], reasoning_effort="low"
    )
    reasoned = whole.usage.completion_tokens_details.reasoning_tokens
    assert reasoned > 0
    assert whole.usage.completion_tokens == reasoned + len(whole.choices[0].message.content.split())


def test_several_choices(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "Two."}], n=2)
    first, second = (choice.message.content for choice in whole.choices)
    assert first != second
    assert whole.usage.completion_tokens == len(f"{first} {second}".split())


def test_responses_plain_and_streamed_say_the_same(openai_client: openai.OpenAI) -> None:
    whole = openai_client.responses.create(model=GPT, input="Sum up the year.", instructions="Be brief.")
    with openai_client.responses.stream(model=GPT, input="Sum up the year.", instructions="Be brief.") as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert whole.output_text == streamed.output_text
    assert whole.usage == streamed.usage
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip


def test_responses_call_a_tool_after_reasoning(openai_client: openai.OpenAI) -> None:
    tool = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
    asked = {
        "model": GPT,
        "input": "Rain? [sim:tool]",
        "tools": [tool],
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    whole = openai_client.responses.create(**asked)
    with openai_client.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()
    assert [item.type for item in whole.output] == ["reasoning", "function_call"]
    assert streamed.output[1].arguments == whole.output[1].arguments
    assert whole.usage.output_tokens_details.reasoning_tokens > 0


def test_responses_parse_structured_output_and_end_incomplete_at_their_limit(openai_client: openai.OpenAI) -> None:
    parsed = openai_client.responses.parse(model=GPT, input="A ticket.", text_format=Ticket)
    short = openai_client.responses.create(model=GPT, input="[sim:tokens=50]", max_output_tokens=5)
    assert isinstance(parsed.output_parsed, Ticket)
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_embeddings_are_unit_vectors_and_cost_their_tokens(openai_client: openai.OpenAI) -> None:
    found = openai_client.embeddings.create(model=EMBEDDER, input=["red stone", "blue river"], dimensions=8)
    assert [len(entry.embedding) for entry in found.data] == [8, 8]
    assert sum(value**2 for value in found.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert found.usage.prompt_tokens == 4


def test_models_are_listed_in_both_dialects(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    listed = {model.id for model in openai_client.models.list()}
    assert listed == {model.id for model in anthropic_client.models.list()} == set(PRICES)
    assert openai_client.models.retrieve(GPT).id == GPT


def test_messages_plain_and_streamed_say_the_same(anthropic_client: anthropic.Anthropic) -> None:
    asked = {"model": CLAUDE, "max_tokens": 100, "messages": [{"role": "user", "content": "Sum up the year."}]}
    whole = anthropic_client.messages.create(**asked)
    with anthropic_client.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream if event.type != "text"]
        streamed = stream.get_final_message()
    assert whole.content[0].text == streamed.content[0].text
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (
        streamed.usage.input_tokens,
        streamed.usage.output_tokens,
    )
    assert kinds[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert whole.stop_reason == "end_turn"


def test_messages_think_then_call_a_tool(anthropic_client: anthropic.Anthropic) -> None:
    asked = {
        "model": CLAUDE,
        "max_tokens": 400,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "weather", "input_schema": WEATHER}],
        "messages": [{"role": "user", "content": "Rain? [sim:tool]"}],
    }
    whole = anthropic_client.messages.create(**asked)
    with anthropic_client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "tool_use"]
    assert [block.model_dump(exclude={"parsed_output"}) for block in whole.content] == [
        block.model_dump(exclude={"parsed_output"}) for block in streamed.content
    ]
    assert set(whole.content[1].input) == {"city"}
    assert whole.stop_reason == streamed.stop_reason == "tool_use"


def test_messages_parse_structured_output(anthropic_client: anthropic.Anthropic) -> None:
    parsed = anthropic_client.messages.parse(
        model=CLAUDE, max_tokens=200, messages=[{"role": "user", "content": "A ticket."}], output_format=Ticket
    )
    assert isinstance(parsed.parsed_output, Ticket)


def test_counted_tokens_are_those_billed(anthropic_client: anthropic.Anthropic, sim: SimulatedCloud) -> None:
    asked = {"model": CLAUDE, "system": "Be brief.", "messages": [{"role": "user", "content": "What is a river?"}]}
    counted = anthropic_client.messages.count_tokens(**asked)
    answered = anthropic_client.messages.create(**asked, max_tokens=9)
    assert counted.input_tokens == answered.usage.input_tokens
    assert [line["uncached_input"] for line in sim.invoice()["lines"]] == [counted.input_tokens]


def test_errors_are_the_sdks_own(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(openai.NotFoundError):
        openai_client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.create(model="nobody", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="messages"):
        openai_client.chat.completions.create(model=GPT, messages=[])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        anthropic_client.messages.create(model=CLAUDE, max_tokens=0, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.AuthenticationError):
        anthropic_client.with_options(
            default_headers={"x-api-key": anthropic.omit, "authorization": anthropic.omit}
        ).messages.create(model=CLAUDE, max_tokens=1, messages=[{"role": "user", "content": "x"}])


SAID: Any = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/chat/completions", {"model": GPT, "messages": SAID, "tools": [1]}),
        ("/v1/chat/completions", {"model": GPT, "messages": SAID, "n": 1_000_000}),
        ("/v1/responses", {"model": GPT, "input": [1]}),
        ("/v1/responses", {"model": GPT, "input": "x", "tools": "all"}),
        ("/v1/messages", {"model": CLAUDE, "max_tokens": 1, "messages": [{"role": "user", "content": [1]}]}),
        ("/v1/messages", {"model": CLAUDE, "max_tokens": 1, "messages": SAID, "tools": 1}),
        ("/v1/messages/count_tokens", {"model": CLAUDE, "messages": "x"}),
        ("/v1/embeddings", {"model": EMBEDDER, "input": {"text": "x"}}),
        ("/v1/embeddings", {"model": EMBEDDER, "input": "x", "dimensions": 1_000_000}),
        ("/_sim/faults", {"probabilities": [0.5]}),
        ("/_sim/faults", {"queue": "429"}),
        ("/_sim/faults", {"queue": ["fire"]}),
    ],
)
def test_nonsense_is_a_bad_request(sim: SimulatedCloud, path: str, document: dict[str, Any]) -> None:
    answer = httpx2.post(f"{sim.url}{path}", json=document, headers={"x-api-key": "sk-a"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert sim.invoice()["lines"] == []
