"""The forecast against reality: measure the engine, foretell a mixed run of calls, then run it.

For each seed: 60 chat calls with prompts of 40 to 600 tokens, half of which begin with one of four system prompts, and
answers of 4 to 48 tokens, sent by one, two, then four callers at once. Their prompts are turned into tokens beforehand,
template included; the forecast is made from the measurement and those tokens alone, before the run.

    python benchmarks/forecast.py --seeds 5

``wall`` is foretold for a machine as busy as it was when measured. ``alone`` is the run less the time in which the
engine stood ready without a CPU, so what it would have taken without neighbours: it tells what the model gets wrong
from what the neighbours took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from msgspec import to_builtins
from pyreqwest.client import ClientBuilder
from rich.console import Console

from breakeven.box.bench_client import SYLLABLES, BenchClient, LlamaServerDialect, Prompt, Reading
from breakeven.box.bench_run import take_measurement
from breakeven.box.bench_target import Target, open_target
from breakeven.box.pressure import CpuQueue
from breakeven.catalog.measurements import Measurement
from breakeven.cli.measure_view import show
from breakeven.config import BoxSettings, EngineSettings, Settings
from breakeven.economics.continuous_batching import BatchCall, CallServed, serve_calls

SLOTS = 4
PHASES = ((1, 14), (2, 18), (4, 28))
"""Callers at once, and calls of the phase."""
FAMILIES = 4


@dataclass(frozen=True)
class ChatCall:
    messages: list[dict[str, str]]
    output: int


class ChatDialect(LlamaServerDialect):
    """Chat calls, their messages as JSON."""

    path = "/v1/chat/completions"

    def body(self, prompt: Prompt, output_tokens: int, *, cached: bool) -> dict[str, Any]:
        assert isinstance(prompt, str)
        return {
            "messages": json.loads(prompt),
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "stream": True,
            "timings_per_token": True,
        }


def words(rng: random.Random, low: int, high: int) -> str:
    return " ".join("".join(rng.choices(SYLLABLES, k=3)) for _ in range(rng.randint(low, high)))


def mixed_calls(seed: int) -> list[list[list[ChatCall]]]:
    """Phases of callers of calls."""
    rng = random.Random(seed)
    families = [words(rng, 60, 110) for _ in range(FAMILIES)]
    phases = []
    for callers, count in PHASES:
        calls = []
        for _ in range(count):
            system = rng.choice(families) if rng.random() < 0.5 else words(rng, 3, 8)
            user = words(rng, 3, 60) if rng.random() < 0.8 else words(rng, 60, 110)
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            calls.append(ChatCall(messages, rng.randint(4, 48)))
        phases.append([calls[caller::callers] for caller in range(callers)])
    return phases


async def token_counted(phases: list[list[list[ChatCall]]], target: Target) -> list[list[list[BatchCall]]]:
    """The same calls as token ids, which costs the engine no computing."""
    async with ClientBuilder().no_proxy().http1_only().pool_max_idle_per_host(0).build() as client:
        return [
            [[BatchCall(await tokens_of(client, target, call), call.output) for call in calls] for calls in callers]
            for callers in phases
        ]


async def tokens_of(client: Any, target: Target, call: ChatCall) -> tuple[int, ...]:
    async def post(path: str, body: dict[str, Any]) -> Any:
        request = client.post(target.root + path).header("content-type", "application/json")
        response = await request.bearer_auth(target.key).body_bytes(json.dumps(body).encode()).build().send()
        return await response.json()

    templated = (await post("/apply-template", {"messages": call.messages}))["prompt"]
    counted = await post("/tokenize", {"content": templated, "add_special": True, "parse_special": True})
    return tuple(counted["tokens"])


@dataclass
class Outcome:
    seconds: float
    computed: int
    output: int
    first_token: float

    def slowed(self, waited: float) -> Outcome:
        """The same on a machine on which the engine has no CPU that share of the time."""
        return replace(self, seconds=self.seconds / (1 - waited), first_token=self.first_token / (1 - waited))

    @property
    def tokens_per_second(self) -> float:
        return (self.computed + self.output) / self.seconds


def forecast(phases: list[list[list[BatchCall]]], taken: Measurement) -> Outcome:
    """All phases, one after the other."""
    seconds, served = 0.0, list[CallServed]()
    output = sum(call.output_tokens for callers in phases for calls in callers for call in calls)
    remembered: Any = None
    for callers in phases:
        done, remembered = serve_calls(
            callers, taken.step_times(), slots=SLOTS, batch_tokens=taken.engine.batch_tokens or 512, held=remembered
        )
        seconds += max(call.ended_at for call in done)
        served += done
    first = statistics.median(call.first_token_at - call.sent_at for call in served)
    return Outcome(seconds, sum(call.computed_tokens for call in served), output, first)


async def reality(phases: list[list[list[ChatCall]]], target: Target, trace: list[Any]) -> Outcome:
    client = BenchClient(target.root, ChatDialect(target.model, 0), key=target.key)
    readings: list[Reading] = []

    async def caller(calls: list[ChatCall]) -> None:
        readings.extend([await client.call(json.dumps(call.messages), call.output) for call in calls])

    began = time.perf_counter()
    assert target.pid is not None
    queue = CpuQueue(target.pid)
    for callers in phases:
        queued, phase = queue.read(), time.perf_counter()
        await asyncio.gather(*(caller(calls) for calls in callers))
        trace.append({"phase": len(callers), "wall": time.perf_counter() - phase, "waited": queue.waited_since(queued)})
    seconds = time.perf_counter() - began
    await client.close()
    trace += [
        (r.sent - began, r.first - r.sent, r.last - r.sent, r.input_tokens, r.cached_tokens, r.output_tokens)
        for r in readings
    ]
    first = statistics.median(reading.first_token_seconds for reading in readings)
    computed = sum(reading.input_tokens or 0 for reading in readings)
    return Outcome(seconds, computed, sum(reading.output_tokens or 0 for reading in readings), first)


def error(foretold: float, real: float) -> float:
    return foretold / real - 1


def wait_for_quiet(most_seconds: float) -> None:
    """Until others, those that yield left out, use less than a fifth of a core for two seconds."""
    until = time.monotonic() + most_seconds
    while time.monotonic() < until:
        before = psutil.cpu_times()
        time.sleep(2)
        after = psutil.cpu_times()
        if (after.user + after.system - before.user - before.system) / 2 < 0.2:
            return


@dataclass
class Errors:
    """Shares by which the forecast of a seed was off."""

    wall: float
    alone: float
    rate: float


async def one_seed(seed: int, taken: Measurement, target: Target, options: argparse.Namespace) -> Errors:
    """Foretell, run, print."""
    assert target.pid is not None
    phases = mixed_calls(seed)
    counted = await token_counted(phases, target)
    alone = forecast(counted, taken)
    foretold = alone.slowed(taken.conditions.waited or 0.0)
    wait_for_quiet(options.wait)
    queue = CpuQueue(target.pid)
    queued = queue.read()
    trace: list[Any] = []
    real = await reality(phases, target, trace)
    waited = queue.waited_since(queued)
    real_alone = real.seconds - waited
    for name, outcome, seconds in (("forecast", foretold, alone.seconds), ("actual", real, real_alone)):
        figures = f"{outcome.seconds:8.1f} {seconds:8.1f} {outcome.tokens_per_second:8.1f}"
        print(f"{seed:4} {name:9} {figures} {outcome.computed:9,} {outcome.first_token:9.3f}")
    wall, model = error(foretold.seconds, real.seconds), error(alone.seconds, real_alone)
    rate = error(foretold.tokens_per_second, real.tokens_per_second)
    computed, first = error(foretold.computed, real.computed), error(foretold.first_token, real.first_token)
    errors = f"{wall:+8.1%} {model:+8.1%} {rate:+8.1%} {computed:+9.1%} {first:+9.1%}"
    print(f"{seed:4} {'error':9} {errors}   no CPU: {taken.conditions.waited or 0:.0%} when measured,"
          f" {waited / real.seconds:.0%} when run")  # fmt: skip
    sys.stdout.flush()
    if options.trace:
        kept = {"seed": seed, "measurement": to_builtins(taken), "calls": trace, "waited": waited}
        with Path(options.trace).open("a") as file:
            file.write(json.dumps(kept) + "\n")
    return Errors(abs(wall), abs(model), abs(rate))


async def main(options: argparse.Namespace) -> None:
    home = Path(options.home) if options.home else Path(tempfile.mkdtemp(prefix="breakeven-forecast-"))
    settings = Settings(engine=EngineSettings(model=options.model, context=2048, slots=SLOTS))
    seeds: list[Errors] = []
    async with open_target(settings, home, model=None, base_url=None) as target:
        wait_for_quiet(options.wait)
        taken = await take_measurement(target, BoxSettings(), quick=True)
        show(taken, Console(width=110))
        print("\nseed             wall s  alone s    tok/s  computed  TTFT p50")
        for seed in range(options.first, options.first + options.seeds):
            if seeds and options.measure_each:
                wait_for_quiet(options.wait)
                taken = await take_measurement(target, BoxSettings(), quick=True)
            seeds.append(await one_seed(seed, taken, target, options))
    figures = {
        "wall": [seed.wall for seed in seeds],
        "alone": [seed.alone for seed in seeds],
        "tokens/s": [seed.rate for seed in seeds],
    }
    medians = ", ".join(f"{name} {statistics.median(errors):.1%}" for name, errors in figures.items())
    worst = ", ".join(f"{name} {max(errors):.1%}" for name, errors in figures.items())
    print(f"\nerror over {len(seeds)} seeds: median {medians}; worst {worst}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs, each of 60 other calls")
    parser.add_argument("--model", default="demo", help="model of the embedded engine")
    parser.add_argument("--home", help="folder with pulled models; by default a temporary one")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--wait", type=float, default=60, help="most seconds to wait for a quiet machine")
    parser.add_argument("--measure-each", action="store_true", help="measure anew before each seed")
    parser.add_argument("--trace", help="append measurements and calls to this file")
    asyncio.run(main(parser.parse_args()))
