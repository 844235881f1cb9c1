"""Forty topics at once: how long until the last is answered, by simulated cloud accounts and by the embedded engine.

    python benchmarks/burst40.py [--topics 40] [--words 500] [--output 80] [--no-engine]

The clouds answer at 60 tokens a second after half a second, with the limits named; the official OpenAI and Anthropic
SDKs send and retry, as they do by default but without giving up. The engine runs the demo model, which is plumbing:
its seconds say how the burst queues on this machine, not how a model that you would use performs. `breakeven plan`
computes that for yours.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anthropic
import openai

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.fakes import cloud  # noqa: E402
from tests.gateway.conftest import run_gateway  # noqa: E402

PATIENCE = 1000


@dataclass(frozen=True)
class Case:
    name: str
    flags: tuple[str, ...]
    dialect: str


CASES = (
    Case("OpenAI tier 1 (2026-05)", ("--provider", "openai", "--tier", "1"), "openai"),
    Case("Anthropic Start (2026-10)", ("--provider", "anthropic", "--tier", "1"), "anthropic"),
    Case("30,000 TPM", ("--tpm", "30000"), "openai"),
    Case("50 RPM, 30,000 ITPM, 8,000 OTPM", ("--rpm", "50", "--itpm", "30000", "--otpm", "8000"), "anthropic"),
)
"""The last two are what the lowest paid tiers allowed for a flagship until 2025 and until June 2026."""

Ask = Callable[[str], Awaitable[object]]


async def finish(ask: Ask, prompts: list[str]) -> list[float]:
    """Seconds from the common start until each topic was answered, in rising order."""
    started = time.perf_counter()

    async def one(prompt: str) -> float:
        await ask(prompt)
        return time.perf_counter() - started

    return sorted(await asyncio.gather(*(one(prompt) for prompt in prompts)))


async def ask_openai(url: str, model: str, output: int, prompts: list[str]) -> list[float]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=PATIENCE, timeout=3600) as client:
        return await finish(
            lambda prompt: client.chat.completions.create(
                model=model, max_tokens=output, messages=[{"role": "user", "content": prompt}]
            ),
            prompts,
        )


async def ask_anthropic(url: str, model: str, output: int, prompts: list[str]) -> list[float]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=PATIENCE, timeout=3600) as client:
        return await finish(
            lambda prompt: client.messages.create(
                model=model, max_tokens=output, messages=[{"role": "user", "content": prompt}]
            ),
            prompts,
        )


def show(name: str, seconds: list[float], refused: int | str) -> None:
    print(
        f"| {name} | {seconds[0]:.1f} | {seconds[len(seconds) // 2]:.1f} | {seconds[-1]:.1f} | {refused} |", flush=True
    )


def main() -> None:
    flags = argparse.ArgumentParser()
    flags.add_argument("--topics", type=int, default=40)
    flags.add_argument("--words", type=int, default=500, help="words in a prompt")
    flags.add_argument("--output", type=int, default=80, help="tokens of an answer")
    flags.add_argument("--engine-context", type=int, default=2048)
    flags.add_argument("--no-engine", action="store_true")
    wanted = flags.parse_args()
    filler = " ".join(["topic"] * wanted.words)
    prompts = [f"Topic {number}. {filler} [sim:tokens={wanted.output}]" for number in range(wanted.topics)]
    print(f"{wanted.topics} topics at once, seconds until answered:\n")
    print("| where | first | median | last | refusals on the way |\n|---|---|---|---|---|")
    for case in CASES:
        with cloud.process(*case.flags) as sim:
            ask, model = (ask_openai, "gpt-6-luna") if case.dialect == "openai" else (ask_anthropic, "claude-haiku-5-5")
            seconds = asyncio.run(ask(sim.url, model, wanted.output, prompts))
            show(case.name, seconds, sim.seen()["by_status"].get("429", 0))
    if wanted.no_engine:
        return
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine = {"context": wanted.engine_context, "slots": 2}
        gateway = stack.enter_context(run_gateway({"engine": engine}, home))
        show("embedded engine, demo model", asyncio.run(ask_openai(gateway.url, "local", wanted.output, prompts)), "–")


if __name__ == "__main__":
    main()
