"""The invoice says what is owed: exact money, cache classes, cut streams at what was generated, errors at nothing."""

from __future__ import annotations

from decimal import Decimal

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import cloud
from tests.fakes.cloud import CLAUDE, GPT, SimulatedCloud

from breakeven.cloudsim.invoice import PriceList, key_name
from breakeven.cloudsim.prompt_cache import PromptUsage
from breakeven.cloudsim.serving import Latency
from breakeven.cloudsim.tokens import count, tokenise

LONG = "stone " * 1500


@given(st.text())
def test_tokens_put_together_are_the_text(text: str) -> None:
    assert "".join(tokenise(text)) == text
    assert len(tokenise(text)) == count(text)


def test_a_charge_is_exact_and_takes_the_tier_of_the_whole_prompt() -> None:
    beyond = PriceList.simple("2.50", "15")
    prices = PriceList(*(Decimal(x) for x in ("1.25", "10", "0.125", "1.5625", "2.5")), beyond=(1000, beyond))
    assert prices.micro_usd(PromptUsage(333, 0, 1, 1), 7) == Decimal("490.3125")
    assert prices.micro_usd(PromptUsage(1, 1000), 1) == Decimal("267.5")


def test_the_invoice_charges_each_request_to_its_key_and_model(
    sim: SimulatedCloud, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    chat = openai_client.chat.completions.create(
        model=GPT, messages=[{"role": "user", "content": "Hello there."}], user="u-1"
    )
    message = anthropic_client.messages.create(
        model=CLAUDE,
        max_tokens=20,
        messages=[{"role": "user", "content": "Hello there."}],
        metadata={"user_id": "u-2"},
    )
    invoice = sim.invoice()
    first, second = invoice["lines"]
    assert (first["provider"], first["key"], first["user"]) == ("openai", key_name("sk-a"), "u-1")
    assert (second["provider"], second["key"], second["user"]) == ("anthropic", key_name("sk-ant-a"), "u-2")
    expected = Decimal("1.25") * chat.usage.prompt_tokens + 10 * chat.usage.completion_tokens
    expected += 3 * message.usage.input_tokens + 15 * message.usage.output_tokens
    assert Decimal(invoice["micro_usd"]) == expected
    assert sum(Decimal(line["micro_usd"]) for line in invoice["totals"]) == expected


def test_a_reset_may_be_repeated(sim: SimulatedCloud, openai_client: openai.OpenAI) -> None:
    openai_client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "Hello."}])
    for _ in range(2):
        sim.post("/_sim/reset")
        assert sim.invoice() == {"micro_usd": "0", "totals": [], "lines": []}
        assert sim.seen()["requests"] == 0


def test_anthropics_cache_is_written_where_marked_and_read_back(anthropic_client: anthropic.Anthropic) -> None:
    def ask(ttl: str, question: str) -> anthropic.types.Usage:
        return anthropic_client.messages.create(
            model=CLAUDE,
            max_tokens=5,
            system=[{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": ttl}}],
            messages=[{"role": "user", "content": question}],
        ).usage

    first, second = ask("1h", "One?"), ask("1h", "And two?")
    assert first.cache_creation.ephemeral_1h_input_tokens == 1501
    assert first.cache_creation_input_tokens == 1501
    assert first.cache_read_input_tokens == 0
    assert second.cache_creation_input_tokens == 0
    assert second.cache_read_input_tokens == 1501
    assert second.input_tokens == count("And two?") + 3


def test_a_mark_that_moves_on_reads_the_old_prefix_and_writes_the_rest(anthropic_client: anthropic.Anthropic) -> None:
    mark = {"type": "ephemeral"}

    def ask(*turns: str) -> anthropic.types.Usage:
        messages = [
            {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": t}]}
            for i, t in enumerate(turns)
        ]
        messages[-1]["content"][0]["cache_control"] = mark
        return anthropic_client.messages.create(model=CLAUDE, max_tokens=5, messages=messages).usage

    first, second = ask(LONG), ask(LONG, "yes", "and then?")
    assert first.cache_creation.ephemeral_5m_input_tokens == second.cache_read_input_tokens
    assert second.cache_creation.ephemeral_5m_input_tokens == count("yes") + count("and then?") + 6
    assert second.input_tokens == 0


def test_anthropics_cache_expires() -> None:
    now = [0.0]
    with cloud.running(clock=lambda: now[0]) as sim:
        client = anthropic.Anthropic(base_url=sim.url, api_key="sk-ant-a", max_retries=0)

        def read() -> int:
            system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
            asked = {"max_tokens": 5, "system": system, "messages": [{"role": "user", "content": "One?"}]}
            return client.messages.create(model=CLAUDE, **asked).usage.cache_read_input_tokens

        reads = [read()]
        for seconds in (299, 299, 301):
            now[0] += seconds
            reads.append(read())
        client.close()
    assert reads == [0, 1501, 1501, 0]


def test_openais_cache_is_automatic_and_comes_in_steps(openai_client: openai.OpenAI) -> None:
    def ask(question: str) -> openai.types.CompletionUsage:
        messages = [{"role": "system", "content": LONG}, {"role": "user", "content": question}]
        return openai_client.chat.completions.create(model=GPT, messages=messages).usage

    first, second = ask("One?"), ask("And two?")
    assert first.prompt_tokens_details.cached_tokens == 0
    assert second.prompt_tokens_details.cached_tokens == 1408
    assert second.prompt_tokens > 1500


def test_a_cut_stream_is_billed_for_what_was_generated(sim: SimulatedCloud, openai_client: openai.OpenAI) -> None:
    stream = openai_client.chat.completions.create(
        model=f"{GPT}+cut:6", stream=True, messages=[{"role": "user", "content": "[sim:tokens=60]"}]
    )
    received: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        received.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    (line,) = sim.invoice()["lines"]
    assert line["output"] == count("".join(received)) > 0
    assert not line["complete"]
    assert line["model"] == GPT


def test_a_caller_that_leaves_pays_up_to_the_moment_it_is_noticed() -> None:
    with cloud.running(latency=Latency(tokens_per_second=500)) as sim:
        client = openai.OpenAI(base_url=f"{sim.url}/v1", api_key="sk-a", max_retries=0)
        stream = client.chat.completions.create(
            model=GPT, stream=True, messages=[{"role": "user", "content": "[sim:tokens=100000]"}]
        )
        received = ""
        for chunk in stream:
            received += chunk.choices[0].delta.content or ""
            if count(received) > 20:
                break
        stream.close()
        client.close()
        (line,) = sim.invoice()["lines"]
    assert count(received) <= line["output"] < 100_000


@pytest.mark.parametrize("fault", ["429", "429:3", "500", "503", "529"])
def test_errors_are_not_billed(sim: SimulatedCloud, openai_client: openai.OpenAI, fault: str) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        openai_client.chat.completions.create(model=f"{GPT}+{fault}", messages=[{"role": "user", "content": "x"}])
    assert raised.value.status_code == int(fault[:3])
    assert raised.value.response.headers.get("retry-after") == ("3" if ":" in fault else None)
    assert sim.invoice()["lines"] == []
