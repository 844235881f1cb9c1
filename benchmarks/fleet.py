"""A fleet of agents on one engine: straight to llama-server without and with its cache, and through breakeven.

N agents, each with a private system prompt, run chains of steps, all at once at the first wake-up and staggered at the
later ones. Every subject serves the same chains on the same engine with the same slots. They take turns, wake-up by
wake-up, while the others rest, so that neighbours who come and go meet all of them. Counts of tokens are the engine's
own, and so are its processor time and how long it stood ready without a CPU, which is no subject's fault. The engine is
the embedded llama.cpp with the demo model; it costs what it costs there, so read the ratios.

    python benchmarks/fleet.py            # 31 agents, prompts of ~1,500 tokens: about two hours on two quiet cores
    python benchmarks/fleet.py --quick    # 3 agents, ~250 tokens, one slot: about two minutes on two quiet cores

Without a cache an agent costs about a minute at each wake-up, with one a tenth of that: ``--only`` and ``--agents``
divide the work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from breakeven.box.engine import default_threads
from breakeven.box.engine_child import ChildConfig
from breakeven.box.models import ModelFile, resolve
from breakeven.box.pressure import CpuQueue
from breakeven.providers.plain_http import PlainClient
from processes import free_port, running, wait_for

SYLLABLES = ["an", "ba", "cor", "del", "en", "fa", "gri", "hol", "in", "ka", "lum", "mor", "net", "or", "pel", "qua"]
WORDS_PER_TOKEN = 0.4
MIB = 1 << 20


@dataclass(frozen=True)
class Fleet:
    """The work: who wakes, what they send."""

    agents: int
    prompt_tokens: int
    steps: int
    answer_tokens: int
    slots: int
    stagger_seconds: float
    think_seconds: float = 0.0

    def system_prompt(self, agent: int) -> str:
        chosen = random.Random(f"fleet {agent}")
        words = (
            chosen.choice(SYLLABLES) + chosen.choice(SYLLABLES)
            for _ in range(round(self.prompt_tokens * WORDS_PER_TOKEN))
        )
        return f"You are agent {agent}. " + " ".join(words)


@dataclass
class Wake:
    """What one wake-up of all agents showed."""

    prefill: int = 0
    prompt: int = 0
    first_tokens: list[float] = field(default_factory=list)
    wall: float = 0.0
    engine_cpu: float = 0.0
    engine_waited: float = 0.0
    chains: int = 0

    @property
    def per_chain(self) -> float:
        return self.prefill / self.chains

    @property
    def undisturbed(self) -> float:
        """Chains a minute, had the engine never had to wait for a CPU."""
        return 60 * self.chains / max(self.engine_cpu, self.wall - self.engine_waited)

    @property
    def hit_rate(self) -> float:
        return 1 - self.prefill / self.prompt

    @property
    def chains_a_minute(self) -> float:
        return 60 * self.chains / self.wall

    def first_token(self, share: float) -> float:
        ranked = sorted(self.first_tokens)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass(frozen=True)
class Subject:
    """Who serves: straight to the engine or through the gateway, and with how much cache."""

    name: str
    cache_mib: int
    through_gateway: bool = False


@dataclass(frozen=True)
class Served:
    """A subject that runs: its address and its engine's process."""

    url: str
    engine: psutil.Process

    def wake(self, fleet: Fleet, number: int) -> Wake:
        """All agents run one chain each."""
        queue = CpuQueue(self.engine.pid)
        used, waited = self._cpu_seconds(), {**queue.read(), **queue.read()}  # one may miss a thread while others end
        seen = asyncio.run(wake(fleet, self.url, number, fleet.stagger_seconds if number else 0.0))
        seen.engine_cpu = self._cpu_seconds() - used
        seen.engine_waited = queue.waited_since(waited)
        return seen

    def _cpu_seconds(self) -> float:
        times = self.engine.cpu_times()
        return float(times.user + times.system)


async def wake(fleet: Fleet, url: str, number: int, stagger: float) -> Wake:
    seen = Wake(chains=fleet.agents)
    began = time.perf_counter()
    await asyncio.gather(*(chain(fleet, url, agent, number, stagger * agent, seen) for agent in range(fleet.agents)))
    seen.wall = time.perf_counter() - began
    return seen


async def chain(fleet: Fleet, url: str, agent: int, number: int, delay: float, seen: Wake) -> None:
    await asyncio.sleep(delay)
    messages: list[dict[str, str]] = [{"role": "system", "content": fleet.system_prompt(agent)}]
    for step in range(fleet.steps):
        messages.append({"role": "user", "content": f"Wake-up {number}, step {step}: what is next?"})
        answer = await call(fleet, url, agent, messages, seen)
        messages.append({"role": "assistant", "content": answer})
        if step + 1 < fleet.steps:
            await asyncio.sleep(fleet.think_seconds)


async def call(fleet: Fleet, url: str, agent: int, messages: list[dict[str, str]], seen: Wake) -> str:
    body = {
        "model": "local",
        "messages": messages,
        "max_tokens": fleet.answer_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"content-type": "application/json", "x-breakeven-agent": f"agent-{agent}"}
    sent, first, text, rest, usage = time.perf_counter(), None, "", b"", None
    client = PlainClient(connect_seconds=10, first_byte_seconds=7200, silence_seconds=7200)
    response = await client.post(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        async for chunk in response.chunks():
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if not event.startswith(b"data: {"):
                    continue
                data: dict[str, Any] = json.loads(event[6:])
                if "error" in data:
                    raise RuntimeError(data["error"])
                for choice in data.get("choices") or ():
                    if piece := choice["delta"].get("content"):
                        first = first or time.perf_counter()
                        text += piece
                usage = data.get("usage") or usage
    finally:
        client.release(response)
        await client.close()
    if response.status != 200 or usage is None:
        raise RuntimeError(f"HTTP {response.status}, usage {usage}: {rest!r}")
    seen.prompt += usage["prompt_tokens"]
    seen.prefill += usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    seen.first_tokens.append((first or time.perf_counter()) - sent)
    return text


@contextmanager
def serving(subject: Subject, fleet: Fleet, model: ModelFile, context: int) -> Iterator[Served]:
    """The subject, running."""
    if subject.through_gateway:
        with tempfile.TemporaryDirectory() as home:
            port = free_port()
            configuration = Path(home) / "breakeven.toml"
            configuration.write_text(
                f"home = {home!r}\n[gateway]\nport = {port}\n[engine]\nmodel = {str(model.path)!r}\n"
                f"context = {context}\nslots = {fleet.slots}\ncache_ram_mib = {subject.cache_mib}\n"
            )
            command = [sys.executable, "-m", "breakeven", "serve", "--config", str(configuration)]
            with running(command) as gateway:
                wait_for(port)
                wait_until_ready(port)
                (engine,) = psutil.Process(gateway.pid).children()
                yield Served(f"http://127.0.0.1:{port}", engine)
        return
    config = ChildConfig(
        model_path=str(model.path), alias="local", context=context, slots=fleet.slots, threads=default_threads(),
        gpu_layers=-1, cache_ram_mib=subject.cache_mib, embeddings=False,
    )  # fmt: skip
    command = [sys.executable, "-m", "breakeven.box.engine_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgspec.json.encode(config) + b"\n")
        child.stdin.flush()
        try:
            yield Served(json.loads(child.stdout.readline())["address"], psutil.Process(child.pid))
        finally:
            child.kill()


def wait_until_ready(port: int) -> None:
    from urllib.request import urlopen

    for _ in range(600):
        try:
            with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:  # not ready, or too busy to say so
            pass
        time.sleep(0.1)
    raise TimeoutError("the gateway's engine did not become ready")


def measure(subjects: list[Subject], fleet: Fleet, model: ModelFile, wakes: int) -> list[list[Wake]]:
    """The wake-ups of each subject."""
    context = -(-(fleet.prompt_tokens * 5 // 4 + fleet.steps * (fleet.answer_tokens + 40)) // 256) * 256
    seen: list[list[Wake]] = [[] for _ in subjects]
    with ExitStack() as running_subjects:
        served = [running_subjects.enter_context(serving(subject, fleet, model, context)) for subject in subjects]
        for number in range(wakes):
            for subject, one, its_wakes in zip(subjects, served, seen, strict=True):
                its_wakes.append(one.wake(fleet, number))
                show(subject, number, its_wakes[-1])
    return seen


def show(subject: Subject, number: int, seen: Wake) -> None:
    label = "cold, burst" if number == 0 else f"wake {number + 1}, staggered"
    print(
        f"| {subject.name} | {label} | {seen.per_chain:,.0f} | {seen.hit_rate:.1%} | {seen.chains_a_minute:.2f} | "
        f"{seen.first_token(0.5):.2f} | {seen.first_token(0.99):.2f} | {seen.wall:.1f} | {seen.engine_cpu:.1f} | "
        f"{seen.engine_waited / seen.wall:.0%} | {seen.undisturbed:.2f} |",
        flush=True,
    )


def compare(name: str, ours: Wake, theirs: Wake) -> None:
    ttft = statistics.median(theirs.first_tokens) / statistics.median(ours.first_tokens)
    print(
        f"{name}: {theirs.per_chain / ours.per_chain:.1f} x fewer prefill tokens, "
        f"{ours.chains_a_minute / theirs.chains_a_minute:.2f} x chains a minute "
        f"({ours.undisturbed / theirs.undisturbed:.2f} x had no engine waited for a CPU), {ttft:.1f} x lower median "
        "time to first token",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small fleet, about five minutes")
    parser.add_argument("--agents", type=int)
    parser.add_argument("--prompt-tokens", type=int)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--answer-tokens", type=int, default=8)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--stagger", type=float, default=0.5, help="seconds between agents at the second wake-up")
    parser.add_argument("--think", type=float, default=0.0, help="seconds that an agent takes between its steps")
    parser.add_argument("--wakes", type=int, default=2)
    parser.add_argument("--only", help="names of subjects, by their numbers: 1,2,3,2s,3s")
    chosen = parser.parse_args()
    fleet = Fleet(
        agents=chosen.agents or (3 if chosen.quick else 31),
        prompt_tokens=chosen.prompt_tokens or (250 if chosen.quick else 1500),
        steps=chosen.steps,
        answer_tokens=chosen.answer_tokens,
        slots=chosen.slots or (1 if chosen.quick else 2),
        stagger_seconds=chosen.stagger,
        think_seconds=chosen.think,
    )
    shared = Path(tempfile.gettempdir()) / "breakeven-test-models"
    model = resolve("demo", shared)
    kv_bytes = model.shape().kv_bytes_per_token or 0
    working_set = fleet.agents * fleet.prompt_tokens * kv_bytes // MIB
    small = max(1, working_set * 2 // 5)
    subjects = {
        "1": Subject("llama-server, cache off", 0),
        "2": Subject("llama-server, 8 GiB cache", 8192),
        "3": Subject("breakeven, 8 GiB cache", 8192, through_gateway=True),
        "2s": Subject(f"llama-server, {small} MiB cache", small),
        "3s": Subject(f"breakeven, {small} MiB cache", small, through_gateway=True),
    }
    keys = chosen.only.split(",") if chosen.only else list(subjects)
    print(
        f"{fleet.agents} agents, ~{fleet.prompt_tokens} tokens each (working set {working_set} MiB of KV), "
        f"{fleet.steps} steps, {fleet.slots} slots, {default_threads()} thread(s)\n\n"
        "| who | wake-up | prefill tokens a chain | hit | chains/min | TTFT p50 s | p99 s | wall s "
        "| engine CPU s | without a CPU | chains/min undisturbed |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    seen = dict(zip(keys, measure([subjects[key] for key in keys], fleet, model, chosen.wakes), strict=True))
    print()
    for ours, theirs in (("3", "1"), ("3", "2"), ("3s", "2s")):
        if ours in seen and theirs in seen:
            for number, (our_wake, their_wake) in enumerate(zip(seen[ours], seen[theirs], strict=True)):
                name = f"{subjects[ours].name} against {subjects[theirs].name}, wake-up {number + 1}"
                compare(name, our_wake, their_wake)


if __name__ == "__main__":
    main()
