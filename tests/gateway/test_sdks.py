"""The clients that people have work unchanged: every dialect in, every dialect out, through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from tests.fakes import cloud
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, MINI, PRICES, SimulatedCloud
from tests.gateway.conftest import RunningGateway, run_gateway

from breakeven.box.models import ModelFile
from breakeven.cloudsim.invoice import key_name

TARGETS = ["house", "gpt", "claude"]
"""A server of one's own in the OpenAI dialect, and both clouds."""
KEY = "bk-mine-mine-mine-mine"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
QUESTION: Any = [{"role": "user", "content": "Sum up the year."}]
ASK_FOR_TOOL: Any = [{"role": "user", "content": "Will it rain? [sim:tool]"}]


class Ticket(pydantic.BaseModel):
    title: str
    urgent: bool


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedCloud]:
    with cloud.running() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sim: SimulatedCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    common = {"locality": "remote", "catalog": "sim"}
    prices = {name: str(getattr(PRICES[GPT], name)) for name in ("input", "output")}
    document = {
        "policy": {"default_data": "shareable", "retries": 0},
        "keys": {"me": {"secret": "env:MINE"}},
        "providers": {
            "openai": {**common, "base_url": f"{sim.url}/v1", "key": "env:OPENAI", "responses": True},
            "anthropic": {**common, "base_url": f"{sim.url}/v1", "key": "env:ANTHROPIC", "dialect": "anthropic"},
            "house": {"base_url": f"{sim.url}/v1", "locality": "local", "key": "env:OPENAI"},
        },
        "models": {
            "gpt": {"provider": "openai", "model": GPT},
            "claude": {"provider": "anthropic", "model": CLAUDE},
            "house": {"provider": "house", "model": MINI},
            "embed": {"provider": "openai", "model": EMBEDDER},
        },
        "prices": {f"sim/{name}": {**prices, "source": "test", "effective": "2026-01-01"} for name in PRICES},
    }
    environment = {"OPENAI": "sk-o", "ANTHROPIC": "sk-ant-a", "MINE": KEY}
    with run_gateway(document, tmp_path_factory.mktemp("home"), environment) as running:
        yield running


@pytest.fixture(scope="module")
def by_openai(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def by_anthropic(gateway: RunningGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", TARGETS)
def test_chat_plain_and_streamed(by_openai: openai.OpenAI, model: str) -> None:
    whole = by_openai.chat.completions.create(model=model, messages=QUESTION, max_tokens=100)
    with by_openai.chat.completions.stream(
        model=model, messages=QUESTION, max_tokens=100, stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert whole.choices[0].message.content == streamed.choices[0].message.content
    assert whole.choices[0].finish_reason == streamed.choices[0].finish_reason == "stop"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (
        streamed.usage.prompt_tokens,
        streamed.usage.completion_tokens,
    )
    assert whole.usage.completion_tokens == len(whole.choices[0].message.content.split())


@pytest.mark.parametrize("model", TARGETS)
def test_chat_tools_there_and_back(by_openai: openai.OpenAI, model: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    asked = {"model": model, "messages": ASK_FOR_TOOL, "tools": tools, "max_tokens": 200}
    whole = by_openai.chat.completions.create(**asked)
    with by_openai.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()
    (call,) = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls"
    assert set(json.loads(call.function.arguments)) == {"city", "days"}
    same = json.loads(streamed.choices[0].message.tool_calls[0].function.arguments)
    assert same == json.loads(call.function.arguments)
    answered = by_openai.chat.completions.create(
        model=model,
        max_tokens=100,
        tools=tools,
        messages=[
            *ASK_FOR_TOOL,
            whole.choices[0].message.model_dump(exclude_none=True, exclude={"annotations", "refusal"}),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
    )
    assert answered.choices[0].message.content


@pytest.mark.parametrize("model", TARGETS)
def test_chat_structured_output(by_openai: openai.OpenAI, model: str) -> None:
    parsed = by_openai.chat.completions.parse(model=model, messages=QUESTION, response_format=Ticket, max_tokens=200)
    assert isinstance(parsed.choices[0].message.parsed, Ticket)


@pytest.mark.parametrize("model", TARGETS)
def test_responses_plain_and_streamed(by_openai: openai.OpenAI, model: str) -> None:
    asked = {"model": model, "input": "Sum up the year.", "instructions": "Be brief.", "max_output_tokens": 100}
    whole = by_openai.responses.create(**asked)
    with by_openai.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert whole.output_text
    assert whole.output_text == streamed.output_text
    assert whole.usage.output_tokens == streamed.usage.output_tokens == len(whole.output_text.split())
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


@pytest.mark.parametrize("model", TARGETS)
def test_responses_tools_and_structured_output(by_openai: openai.OpenAI, model: str) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}]
    asked = {"model": model, "input": "Will it rain? [sim:tool]", "tools": tools, "max_output_tokens": 200}
    whole = by_openai.responses.create(**asked)
    with by_openai.responses.stream(**asked) as stream:
        streamed = stream.get_final_response()
    (call,) = [item for item in whole.output if item.type == "function_call"]
    (same,) = [item for item in streamed.output if item.type == "function_call"]
    assert set(json.loads(call.arguments)) == {"city", "days"}
    assert json.loads(call.arguments) == json.loads(same.arguments)
    parsed = by_openai.responses.parse(model=model, input="A ticket.", text_format=Ticket, max_output_tokens=200)
    assert isinstance(parsed.output_parsed, Ticket)


@pytest.mark.parametrize("model", TARGETS)
def test_messages_plain_and_streamed(by_anthropic: anthropic.Anthropic, model: str) -> None:
    asked = {"model": model, "max_tokens": 100, "system": "Be brief.", "messages": QUESTION}
    whole = by_anthropic.messages.create(**asked)
    with by_anthropic.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert whole.content[0].text == streamed.content[0].text
    assert (whole.stop_reason, streamed.stop_reason) == ("end_turn", "end_turn")
    assert whole.usage.input_tokens == streamed.usage.input_tokens
    assert whole.usage.output_tokens == streamed.usage.output_tokens == len(whole.content[0].text.split())
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("model", TARGETS)
def test_messages_tools_there_and_back(by_anthropic: anthropic.Anthropic, model: str) -> None:
    tools: Any = [{"name": "weather", "input_schema": WEATHER}]
    asked = {"model": model, "max_tokens": 200, "tools": tools, "messages": ASK_FOR_TOOL}
    whole = by_anthropic.messages.create(**asked)
    with by_anthropic.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    (call,) = [block for block in whole.content if block.type == "tool_use"]
    (same,) = [block for block in streamed.content if block.type == "tool_use"]
    assert whole.stop_reason == "tool_use"
    assert set(call.input) == {"city", "days"}
    assert call.input == same.input
    answered = by_anthropic.messages.create(
        model=model,
        max_tokens=100,
        tools=tools,
        messages=[
            *ASK_FOR_TOOL,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ],
    )
    assert answered.content[0].type == "text"


@pytest.mark.parametrize("model", TARGETS)
def test_messages_structured_output(by_anthropic: anthropic.Anthropic, model: str) -> None:
    parsed = by_anthropic.messages.parse(model=model, max_tokens=200, messages=QUESTION, output_format=Ticket)
    assert isinstance(parsed.parsed_output, Ticket)


@pytest.mark.parametrize("model", TARGETS)
def test_tokens_are_counted_before_the_call(by_anthropic: anthropic.Anthropic, model: str) -> None:
    counted = by_anthropic.messages.count_tokens(model=model, messages=QUESTION)
    assert counted.input_tokens > 0
    if model == "claude":
        used = by_anthropic.messages.create(model=model, max_tokens=9, messages=QUESTION).usage.input_tokens
        assert counted.input_tokens == used


def test_thinking_and_cache_marks_survive(by_anthropic: anthropic.Anthropic) -> None:
    system: Any = [{"type": "text", "text": "stone " * 1500, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    asked = {
        "model": "claude", "max_tokens": 2000, "system": system, "messages": QUESTION,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }  # fmt: skip
    first, second = by_anthropic.messages.create(**asked), by_anthropic.messages.create(**asked)
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].signature
    assert first.usage.cache_creation.ephemeral_1h_input_tokens > 1000
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens


def test_embeddings_come_as_asked(by_openai: openai.OpenAI) -> None:
    found = by_openai.embeddings.create(model="embed", input=["red stone", "blue river"], dimensions=8)
    assert [len(entry.embedding) for entry in found.data] == [8, 8]
    assert found.usage.prompt_tokens == 4


def test_models_are_listed_in_both_dialects(by_openai: openai.OpenAI, by_anthropic: anthropic.Anthropic) -> None:
    listed = {model.id for model in by_openai.models.list()}
    assert listed >= {*TARGETS, "embed"}
    assert {model.id for model in by_anthropic.models.list()} == listed
    assert by_openai.models.retrieve("gpt").id == by_anthropic.models.retrieve("gpt").id == "gpt"
    with pytest.raises(openai.NotFoundError):
        by_openai.models.retrieve("nobody")


@pytest.mark.parametrize("model", TARGETS)
def test_errors_are_the_sdks_own(by_openai: openai.OpenAI, by_anthropic: anthropic.Anthropic, model: str) -> None:
    limited: Any = [{"role": "user", "content": "[sim:fault=429:3]"}]
    with pytest.raises(openai.RateLimitError) as by_chat:
        by_openai.chat.completions.create(model=model, messages=limited, max_tokens=9)
    with pytest.raises(anthropic.RateLimitError) as by_messages:
        by_anthropic.messages.create(model=model, messages=limited, max_tokens=9)
    assert by_chat.value.response.headers["retry-after"] == "3"
    assert by_messages.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.NotFoundError):
        by_openai.chat.completions.create(model="nobody", messages=QUESTION)
    with pytest.raises(anthropic.NotFoundError):
        by_anthropic.messages.create(model="nobody", max_tokens=9, messages=QUESTION)


@pytest.mark.parametrize("model", TARGETS)
def test_langchain(gateway: RunningGateway, model: str) -> None:
    @tool
    def weather(city: str) -> str:
        """What the weather will be."""
        return f"sunny in {city}"

    chat = ChatOpenAI(model=model, base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
    whole = chat.invoke("Sum up the year.")
    streamed = "".join(chunk.text for chunk in chat.stream("Sum up the year."))
    assert whole.text == streamed
    assert whole.usage_metadata["output_tokens"] == len(whole.text.split())
    (call,) = chat.bind_tools([weather]).invoke("Rain? [sim:tool]").tool_calls
    assert (call["name"], set(call["args"])) == ("weather", {"city"})
    assert isinstance(chat.with_structured_output(Ticket).invoke("A ticket."), Ticket)


@pytest.mark.parametrize("model", TARGETS)
def test_pydantic_ai_by_openai(gateway: RunningGateway, model: str) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
            await run_agents(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)))

    asyncio.run(main())


@pytest.mark.parametrize("model", TARGETS)
def test_pydantic_ai_by_anthropic(gateway: RunningGateway, model: str) -> None:
    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
            await run_agents(AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client)))

    asyncio.run(main())


async def run_agents(model: Model) -> None:
    """A run with a tool, a streamed one, and one with structured output."""
    asked = []
    agent = Agent(model)

    @agent.tool_plain
    def weather(city: str) -> str:
        """What the weather will be."""
        asked.append(city)
        return "sunny"

    told = await agent.run("Rain? [sim:tool]")
    assert told.output
    assert told.usage.requests == 2
    assert len(asked) == 1
    async with agent.run_stream("Sum up the year.") as streamed:
        assert await streamed.get_output()
    assert isinstance((await Agent(model, output_type=Ticket).run("A ticket. [sim:tool]")).output, Ticket)


# What Claude Code sends to a gateway, as recorded in public traces of it: `?beta=true`, its beta and version headers,
# a bearer token (ANTHROPIC_AUTH_TOKEN) or an API key, and probes of the address before the first call.

BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14,effort-2025-11-24"


@pytest.mark.parametrize("credential", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_claude_codes_headers_reach_anthropic_unchanged(
    gateway: RunningGateway, sim: SimulatedCloud, credential: dict[str, str]
) -> None:
    headers = {
        **credential,
        "anthropic-version": "2023-06-01",
        "anthropic-beta": BETAS,
        "user-agent": "claude-cli/2.1.195 (external, cli)",
        "x-app": "cli",
    }
    document = {
        "model": "claude",
        "max_tokens": 64,
        "stream": True,
        "system": [
            {"type": "text", "text": "You are Claude Code."},
            {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "metadata": {"user_id": "user_1_account__session_2"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }
    answer = httpx2.post(f"{gateway.url}/v1/messages?beta=true", headers=headers, json=document)
    assert answer.status_code == 200
    assert answer.text.startswith("event: message_start\n")
    assert answer.text.rstrip().endswith('data: {"type":"message_stop"}')
    seen = sim.seen()["recent"][-1]
    assert seen["headers"]["anthropic-beta"] == BETAS
    assert seen["headers"]["anthropic-version"] == "2023-06-01"
    assert seen["user"] == "user_1_account__session_2"
    assert seen["key"] == key_name("sk-ant-a"), "the caller's own key goes no further than here"
    assert seen["query"] == ""
    assert set(document) <= set(seen["fields"])


def test_claude_code_counts_tokens_and_probes_before_it_calls(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {KEY}", "anthropic-beta": BETAS + ",token-counting-2024-11-01"}
    counted = httpx2.post(
        f"{gateway.url}/v1/messages/count_tokens?beta=true",
        headers=headers,
        json={"model": "claude", "messages": QUESTION, "tools": []},
    )
    assert counted.json()["input_tokens"] > 0
    for credential in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        found = httpx2.get(f"{gateway.url}/v1/models?limit=1000", headers={**headers, **credential})
        assert found.status_code == 200
        assert {"claude"} <= {model["id"] for model in found.json()["data"] if model["display_name"]}
    for path in ("/", "/api/hello"):
        assert httpx2.head(f"{gateway.url}{path}").status_code == 200
        assert httpx2.get(f"{gateway.url}{path}").status_code == 200


def test_a_wrong_key_is_told_in_the_dialect(gateway: RunningGateway) -> None:
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="bk-wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        client.messages.create(model="claude", max_tokens=9, messages=QUESTION)
    assert refused.value.body["type"] == "error"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="bk-wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.chat.completions.create(model="gpt", messages=QUESTION)


@pytest.fixture(scope="module")
def on_the_engine(demo_model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    engine = {"model": str(demo_model.path), "context": 1024, "cache_ram_mib": 64}
    with run_gateway({"engine": engine}, tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.mark.engine
def test_the_openai_sdk_on_the_engine(on_the_engine: RunningGateway) -> None:
    with openai.OpenAI(base_url=f"{on_the_engine.url}/v1", api_key="any", max_retries=0) as client:
        whole = client.chat.completions.create(model="local", messages=QUESTION, max_tokens=8)
        response = client.responses.create(model="local", input="Sum up the year.", max_output_tokens=8)
        with client.responses.stream(model="local", input="Sum up the year.", max_output_tokens=8) as stream:
            streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        parsed = client.chat.completions.parse(
            model="local", messages=QUESTION, response_format=Ticket, max_tokens=1000, temperature=0
        )
    assert whole.choices[0].message.content
    assert response.output_text
    assert streamed
    assert isinstance(parsed.choices[0].message.parsed, Ticket)


@pytest.mark.engine
def test_the_anthropic_sdk_on_the_engine(on_the_engine: RunningGateway) -> None:
    asked: Any = {"model": "local", "max_tokens": 8, "messages": QUESTION}
    with anthropic.Anthropic(base_url=on_the_engine.url, api_key="any", max_retries=0) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        counted = client.messages.count_tokens(model="local", messages=QUESTION)
    assert whole.content[0].text
    assert streamed.content[0].text
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) == counted.input_tokens
