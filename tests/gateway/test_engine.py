"""The whole way down to a real model: the demo model on the real engine, through the official SDK."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import openai
import pytest
from rich.console import Console
from tests.box.checkup.healthy import with_part
from tests.gateway.conftest import RunningGateway

from breakeven.box.checkup.backend_checks import prefixes
from breakeven.box.models import ModelFile
from breakeven.cli.main import main
from breakeven.cli.top import Look
from breakeven.cli.top import page as dashboard
from breakeven.demo import work

pytestmark = pytest.mark.engine
Serve = Callable[..., RunningGateway]
HELLO: Any = [{"role": "user", "content": "Name three uses of a paper clip."}]
BOX = {"purchase_usd": "3600", "idle_watts": "10", "load_watts": "110"}


def configuration(model: ModelFile) -> dict[str, Any]:
    return {"engine": {"model": str(model.path), "context": 1024, "cache_ram_mib": 64}, "box": BOX}


def engine_counters(gateway: RunningGateway) -> tuple[int, int]:
    """Prompt tokens, cached ones included, and generated tokens, as the engine itself counts them."""
    assert gateway.engine is not None
    request = urllib.request.Request(gateway.engine.base_url.removesuffix("/v1") + "/metrics")
    request.add_header("authorization", f"Bearer {gateway.engine.key}")
    with urllib.request.urlopen(request, timeout=10) as response:
        text = response.read().decode()
    names = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
    found = {name: int(float(re.search(rf"^llamacpp:{name} (\S+)", text, re.MULTILINE)[1])) for name in names}  # type: ignore[index]
    return found["prompt_tokens_total"] + found["prompt_tokens_cached_total"], found["tokens_predicted_total"]


def test_a_streamed_answer_from_a_model_on_this_machine(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))
    chunks = list(
        gateway.client().chat.completions.create(
            model="local",
            messages=HELLO,
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.strip()
    usage = chunks[-1].usage
    assert usage is not None
    (call,) = gateway.calls()
    (attempt,) = call.attempts
    assert attempt.counted_by == "engine"
    assert attempt.tokens is not None
    assert (attempt.tokens.input, attempt.tokens.output) == (usage.prompt_tokens, usage.completion_tokens)
    assert attempt.durations.prefill
    assert attempt.durations.decode
    assert attempt.durations.first_token
    assert attempt.watt_hours


def test_a_schema_is_kept_by_the_engine(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = gateway.client().chat.completions.create(
        model="local",
        messages=HELLO,
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "count", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content or "")["n"], int)


def test_a_prompt_beyond_the_context_is_a_typed_error_not_a_cut_prompt(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))
    long: Any = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(openai.BadRequestError, match="context holds 1024") as caught:
        gateway.client().chat.completions.create(model="local", messages=long)
    assert caught.value.code == "context_length_exceeded"


def test_a_crash_of_the_engine_is_a_retryable_error_and_mends_itself(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))
    with gateway.client().chat.completions.create(model="local", messages=HELLO, stream=True) as stream:
        next(iter(stream))
        assert gateway.engine is not None
        assert gateway.engine.pid is not None
        os.kill(gateway.engine.pid, signal.SIGKILL)
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)
    answer = gateway.client().chat.completions.create(model="local", messages=HELLO, max_tokens=3)
    assert answer.usage is not None
    first, second = gateway.calls()
    assert (first.outcome, second.outcome) == ("cut", "completed")
    assert gateway.engine.restarts == 1


def test_forty_topics_at_once_are_queued_not_refused(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))

    async def burst() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
            asks = (
                client.chat.completions.create(
                    model="local", messages=[{"role": "user", "content": f"Topic {topic}:"}], max_tokens=4
                )
                for topic in range(40)
            )
            return await asyncio.gather(*asks)

    answers = asyncio.run(burst())
    assert all(answer.usage.completion_tokens for answer in answers)
    assert len(gateway.calls()) == 40
    assert gateway.engine is not None
    assert gateway.engine.restarts == 0


def test_the_statement_after_the_demo_has_the_engines_own_counts(
    serve: Serve, demo_model: ModelFile, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = serve(configuration(demo_model))

    async def demo() -> list[work.Answer]:
        return [answer async for answer in work.run(f"{gateway.url}/v1", "none", "local", 2)]

    answers = asyncio.run(demo())
    assert len(answers) == 60
    assert gateway.ledger.flush(10)
    monkeypatch.setenv("BREAKEVEN_HOME", str(gateway.home))
    monkeypatch.chdir(gateway.home)
    with pytest.raises(SystemExit) as ended:
        main(["statement", "--json"])
    assert ended.value.code == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    prompt, generated = engine_counters(gateway)
    classes = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h")
    assert sum(tokens[name] for name in classes) == sum(a.prompt_tokens for a in answers) == prompt
    assert tokens["output"] == sum(a.completion_tokens for a in answers) == generated


def test_the_admin_page_shows_who_holds_which_slot(serve: Serve, demo_model: ModelFile) -> None:
    gateway = serve(configuration(demo_model))
    for _ in range(2):
        gateway.client().chat.completions.create(
            model="local", messages=HELLO, max_tokens=4, extra_headers={"x-breakeven-agent": "a7"}
        )
    with urllib.request.urlopen(f"{gateway.url}/admin", timeout=10) as response:
        box = json.load(response)["box"]
    (engine,) = box["engines"]
    assert "a7" in [slot["agent"] for slot in engine["slots"]]
    assert engine["name"] == "engine"
    assert box["agents"]["a7"]["cached_tokens"] > 0
    assert box["waiting"] == []
    assert "paper clip" not in json.dumps(box)


def test_an_agent_with_a_clock_at_the_head_of_its_prompt_is_named_with_the_place_everywhere(
    serve: Serve, demo_model: ModelFile, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = serve(configuration(demo_model))
    for run in range(3):
        system = f"You are the night watch. It is 0{run}:00. " + "Look at each door and write down what you see. " * 8
        gateway.client().chat.completions.create(
            model="local", max_tokens=1, messages=[{"role": "system", "content": system}, *HELLO],
            extra_headers={"x-breakeven-agent": "watch", "x-breakeven-chain": f"run {run}"},
        )  # fmt: skip

    def page(path: str) -> str:
        with urllib.request.urlopen(f"{gateway.url}{path}", timeout=10) as response:
            return str(response.read().decode())

    overview = json.loads(page("/admin"))
    health = overview["box"]["agents"]["watch"]
    assert health["broken"]
    place = len("system\nYou are the night watch. It is 0")
    assert health["last_break"]["at_character"] == place
    assert 0 < health["last_break"]["at_token"] <= place
    assert f"agent watch: its prompts differ from run to run at character {place} (about token" in caplog.text
    look = Look.of(overview, 0.0)
    screen = Console(width=200, file=io.StringIO(), record=True)
    screen.print(dashboard(gateway.url, look, look))
    assert "watch: its prompt differs from run to run about token" in screen.export_text()
    assert 'breakeven_prefix_broken{agent="watch",provider="engine"} 1.0' in page("/metrics")
    said = json.loads(page("/ready"))["checks"]
    finding = prefixes(with_part("gateway", checks=said))
    assert finding is not None
    assert finding.status == "amber"
    assert "night" not in json.dumps([overview, said]) + caplog.text
