"""Limits a minute are kept, told in each dialect's headers, and pass as the minute does."""

from __future__ import annotations

import anthropic
import openai
import pytest
from tests.fakes import cloud
from tests.fakes.cloud import CLAUDE, GPT

from breakeven.economics.limits import AccountLimits


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_openai_refuses_what_its_limits_do_not_hold() -> None:
    clock = Clock()
    limits = AccountLimits("test", requests_per_minute=2, tokens_per_minute=1000)
    with (
        cloud.running(limits=limits, clock=clock) as sim,
        openai.OpenAI(base_url=f"{sim.url}/v1", api_key="sk-a", max_retries=0) as client,
    ):

        def ask(max_tokens: int = 10, key: str = "sk-a") -> openai.types.chat.ChatCompletion:
            return client.with_options(api_key=key).chat.completions.with_raw_response.create(
                model=GPT, messages=[{"role": "user", "content": "Hello."}], max_completion_tokens=max_tokens
            )

        headers = ask().headers
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "1")
        assert headers["x-ratelimit-reset-requests"] == "30s"
        with pytest.raises(openai.RateLimitError, match="TPM") as too_many_tokens:
            ask(max_tokens=990)
        assert too_many_tokens.value.body["type"] == "tokens"
        ask()
        with pytest.raises(openai.RateLimitError, match=r"RPM.*Limit 2, Used 2, Requested 1.*30\.000s") as too_many:
            ask()
        assert too_many.value.code == "rate_limit_exceeded"
        assert too_many.value.response.headers["retry-after"] == "30"
        ask(key="sk-b")
        clock.now += 30
        ask()


def test_anthropic_counts_input_without_cache_reads_and_output_as_it_comes() -> None:
    clock = Clock()
    limits = AccountLimits("test", input_tokens_per_minute=2000, output_tokens_per_minute=50)
    with (
        cloud.running(limits=limits, clock=clock) as sim,
        anthropic.Anthropic(base_url=sim.url, api_key="sk-ant-a", max_retries=0) as client,
    ):

        def ask(text: str) -> anthropic.types.Message:
            return client.messages.with_raw_response.create(
                model=CLAUDE, max_tokens=10_000, messages=[{"role": "user", "content": text}]
            )

        headers = ask("[sim:tokens=60]").headers
        assert headers["anthropic-ratelimit-output-tokens-limit"] == "50"
        assert headers["anthropic-ratelimit-input-tokens-remaining"] == "1989"
        with pytest.raises(anthropic.RateLimitError, match="output tokens per minute") as limited:
            ask("[sim:tokens=1]")
        assert limited.value.response.headers["retry-after"] == "14"
        clock.now += 14
        ask("[sim:tokens=1]")
        clock.now += 60
        system = [{"type": "text", "text": "stone " * 1500, "cache_control": {"type": "ephemeral"}}]
        asked = {"model": CLAUDE, "max_tokens": 5, "system": system, "messages": [{"role": "user", "content": "x"}]}
        for _ in range(5):
            client.messages.create(**asked)
        with pytest.raises(anthropic.RateLimitError, match="input tokens per minute"):
            ask("stone " * 1500)
