"""The queue in front of real engines: places in it, slots and KV files, callers that leave, engines that die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from breakeven.box.dispatcher import Dispatcher
from breakeven.box.engine import Engine
from breakeven.box.engine_provider import EngineBackend
from breakeven.box.kv_files import KvFiles
from breakeven.box.models import ModelFile
from breakeven.box.pool import Measured
from breakeven.box.supervision import Supervision
from breakeven.config import EngineSettings
from breakeven.errors import DeadlineUnreachable, EngineUnavailable, StreamCut
from breakeven.providers.base import Hints, ProviderRequest

pytestmark = pytest.mark.engine

WATCHFUL = Supervision(check_every=0.05, check_timeout=0.2, checks_missed=3, backoff_first=0.01)
WORDS = ["amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "inlet", "jetty", "knoll", "mesa", "oasis"]


def system_prompt(agent: str, words: int = 60) -> str:
    return f"You are agent {agent}. " + " ".join(
        WORDS[(n * 7 + sum(map(ord, agent)) * n) % len(WORDS)] for n in range(words)
    )


def request(agent: str, ask: str = "Go on.", *, words: int = 60, tokens: int = 4, **hints: Any) -> ProviderRequest:
    messages = [{"role": "system", "content": system_prompt(agent, words)}, {"role": "user", "content": ask}]
    body = {"model": "demo", "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}
    body |= {"stream_options": {"include_usage": True}, "ignore_eos": True}
    return ProviderRequest("/chat/completions", json.dumps(body).encode(), hints=Hints(agent=agent, **hints))


async def ask(box: Dispatcher, outgoing: ProviderRequest) -> Measured:
    async with box.send(outgoing) as reply:
        assert reply.status == 200
        body = b"".join([chunk async for chunk in reply.chunks()])
        assert b"prompt_progress" not in body
        assert b'"delta":{"content":' in body
        return reply.measured()


@dataclass
class Box:
    dispatcher: Dispatcher
    engines: list[Engine]

    @property
    def busy(self) -> int:
        return sum(slot.call is not None for slot in self.dispatcher.snapshot().state.slots)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def box(
    model: ModelFile,
    home: Path,
    *,
    engines: int = 1,
    clock: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> AsyncIterator[Box]:
    chosen = EngineSettings(**{"context": 1024, "slots": 2, "cache_ram_mib": 0, "threads": 1, **settings})
    running = [
        Engine(chosen, model, home / f"logs{n}", kv_files=KvFiles(home / f"kv{n}"), supervision=WATCHFUL)
        for n in range(engines)
    ]
    files = running[0].kv_files if engines == 1 else None
    backends = [EngineBackend(engine, f"engine{n}") for n, engine in enumerate(running)]
    dispatcher = Dispatcher("the box", backends, load_seconds=30, files=files, file_budget=10**9, clock=clock)
    await asyncio.gather(*(engine.start() for engine in running))
    try:
        yield Box(dispatcher, running)
    finally:
        await dispatcher.close()
        await asyncio.gather(*(engine.stop() for engine in running))


def worked(engine: psutil.Process) -> float:
    """Seconds of processor time that it has had."""
    times = engine.cpu_times()
    return float(times.user + times.system)


def run(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(act())


def test_an_agent_finds_its_prompt_computed_and_what_left_its_slot_is_restored(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path, slots=1) as one:
            first = await ask(one.dispatcher, request("a"))
            again = await ask(one.dispatcher, request("a", "And then?"))
            assert first.cached == 0
            assert again.cached is not None
            assert first.computed is not None
            assert again.cached > first.computed * 0.8
            await ask(one.dispatcher, request("b"))
            restored = await ask(one.dispatcher, request("a", "And now?"))
            assert restored.cached is not None
            assert restored.cached > first.computed * 0.8
            health = one.dispatcher.snapshot().agents["a"]
            assert (health.calls, health.broken) == (3, False)
            assert len(list((tmp_path / "kv0").iterdir())) == 2
            assert (tmp_path / "kv0").stat().st_mode & 0o777 == 0o700
        assert not list((tmp_path / "kv0").iterdir())

    run(act)


def test_fewer_calls_at_once_than_slots_are_served_when_told_and_all_again_after(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path, slots=2) as one:
            await ask(one.dispatcher, request("warm", words=10))
            one.dispatcher.serve_at_once(1)
            calls = [asyncio.create_task(ask(one.dispatcher, request(agent, tokens=300))) for agent in "ab"]
            await one.until(lambda: len(one.dispatcher.snapshot().state.waiting) == 1)
            assert one.busy == 1
            one.dispatcher.serve_at_once(None)
            await one.until(lambda: one.busy == one.dispatcher.slots == 2)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    run(act)


def test_before_an_agent_wakes_its_prompt_is_back_in_a_slot_and_only_its_last_words_are_computed(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    passed = [0.0]

    async def act() -> None:
        async with box(demo_model, tmp_path, slots=2, clock=lambda: time.monotonic() + passed[0]) as one:

            def in_slots() -> set[str | None]:
                return {slot.agent for slot in one.dispatcher.snapshot().state.slots}

            async def wake(at: float, *agents: str) -> list[Measured]:
                passed[0] = at
                calls = (ask(one.dispatcher, request(agent, f"Run {at}.")) for agent in agents)
                return await asyncio.gather(*calls)

            (first,) = await wake(0, "cron")
            await wake(100, "b", "c")
            await wake(200, "cron")
            await wake(300, "d", "e")
            assert in_slots() == {"d", "e"}
            await wake(380, "f")
            await one.until(lambda: in_slots() == {"cron", "f"} and one.busy == 0)
            (again,) = await wake(400, "cron")
            assert first.computed is not None
            assert again.computed is not None
            assert again.cached is not None
            assert again.cached > first.computed * 0.9
            assert again.computed < 32

    run(act)


def test_whoever_leaves_frees_the_slot_in_every_phase(demo_model: ModelFile, tmp_path: Path) -> None:
    """Within three seconds, by the engine's own clock: what processor time it has had, on one thread."""

    async def act() -> None:
        async with box(demo_model, tmp_path, slots=1) as one:
            measured = await ask(one.dispatcher, request("warm", words=30))
            decoding = one.dispatcher.send(request("warm", tokens=900, words=30))
            reply = await decoding.__aenter__()
            assert reply.status == 200
            queued = asyncio.create_task(ask(one.dispatcher, request("b")))
            await one.until(lambda: len(one.dispatcher.snapshot().state.waiting) == 1)
            queued.cancel()
            await asyncio.gather(queued, return_exceptions=True)
            assert not one.dispatcher.snapshot().state.waiting
            assert one.busy == 1
            engine = psutil.Process(one.engines[0].pid)
            left = worked(engine)
            await decoding.__aexit__(None, None, None)  # in decode, before anything was read: far from 900 tokens
            await one.until(lambda: not one.busy)
            assert worked(engine) - left < 3
            async with one.dispatcher.send(request("warm", tokens=900, words=30)) as streaming:
                chunks = streaming.chunks()
                for _ in range(3):
                    await anext(chunks)
                left = worked(engine)
            await one.until(lambda: not one.busy)
            assert worked(engine) - left < 3
            begun = worked(engine)
            prefill = asyncio.create_task(ask(one.dispatcher, request("c", words=450)))
            await one.until(lambda: worked(engine) - begun > 0.2)
            left = worked(engine)
            prefill.cancel()
            await asyncio.gather(prefill, return_exceptions=True)
            assert one.busy == 1  # the engine has not noticed yet, so nobody else is sent there
            await one.until(lambda: not one.busy)
            assert worked(engine) - left < 3
            after = await ask(one.dispatcher, request("c", words=450))
            assert after.cached is not None
            assert after.computed is not None
            assert after.cached < after.computed + after.cached - 128  # it was given up before its end
            assert measured.generated == 4

    run(act)


def test_whoever_leaves_while_the_model_loads_reaches_no_engine(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        engine = Engine(EngineSettings(context=512, slots=1, cache_ram_mib=0), demo_model, tmp_path)
        dispatcher = Dispatcher("the box", [EngineBackend(engine)], load_seconds=30)
        loading = asyncio.create_task(engine.start())
        early = asyncio.create_task(ask(dispatcher, request("early")))
        while not dispatcher.snapshot().state.waiting:
            await asyncio.sleep(0)
        assert engine.state.phase == "loading"
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
        assert not dispatcher.snapshot().state.waiting
        await loading
        assert (await ask(dispatcher, request("late", words=20))).cached == 0  # nothing was computed before
        assert [slot.agent for slot in dispatcher.snapshot().state.slots] == ["late"]
        await dispatcher.close()
        await engine.stop()

    run(act)


def test_killed_under_load_it_answers_every_call_or_says_try_again(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path) as one:
            calls = [asyncio.create_task(ask(one.dispatcher, request(agent, tokens=30))) for agent in "abcd"]
            await one.until(lambda: one.busy == 2)
            pid = one.engines[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            answered = [answer for answer in answers if isinstance(answer, Measured)]
            assert len(answered) >= 2
            rest = [answer for answer in answers if not isinstance(answer, Measured)]
            assert all(isinstance(error, StreamCut | EngineUnavailable) and error.retryable for error in rest)
            assert one.engines[0].restarts == 1

    run(act)


def test_hung_it_is_replaced_and_its_calls_are_answered(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path) as one:
            call = asyncio.create_task(ask(one.dispatcher, request("a")))
            await one.until(lambda: one.busy == 1)
            pid = one.engines[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            assert (await call).generated == 4
            assert one.engines[0].restarts == 1

    run(act)


def test_two_engines_keep_their_agents_and_one_that_dies_loses_no_call(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path, engines=2, slots=1) as two:

            async def wake(agents: str) -> list[Measured]:
                return await asyncio.gather(*(ask(two.dispatcher, request(agent)) for agent in agents))

            def homes() -> dict[str | None, str]:
                return {slot.agent: slot.engine for slot in two.dispatcher.snapshot().state.slots}

            await wake("ab")
            before = homes()
            assert set(before) == {"a", "b"}
            assert all(measured.cached for measured in await wake("ba"))
            assert homes() == before
            dies = 0 if before["a"] == "engine0" else 1
            pid = two.engines[dies].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)  # so that it says no word before it dies
            under_way = asyncio.create_task(wake("a"))
            await two.until(lambda: two.busy == 1)
            os.kill(pid, signal.SIGKILL)
            (moved,) = await under_way
            assert moved.generated == 4
            await two.until(lambda: len(two.dispatcher.snapshot().state.slots) == 2)
            await wake("ab")
            assert len(set(homes().values())) == 2

    run(act)


def test_what_cannot_be_answered_in_time_is_refused_before_it_waits(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        async with box(demo_model, tmp_path, slots=1) as one:
            assert one.dispatcher.forecast(request("a")) is None
            await ask(one.dispatcher, request("a", tokens=8))
            foreseen = one.dispatcher.forecast(request("new", words=400, tokens=8))
            assert foreseen is not None
            assert foreseen.prefill > 0
            with pytest.raises(DeadlineUnreachable, match="the deadline leaves"):
                await ask(one.dispatcher, request("new", words=400, deadline_seconds=0.01))
            assert not one.dispatcher.snapshot().state.waiting

    run(act)


def test_a_call_for_an_engine_that_stays_away_is_told_why(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act() -> None:
        engine = Engine(EngineSettings(), demo_model, tmp_path)
        dispatcher = Dispatcher("the box", [EngineBackend(engine)], load_seconds=30)
        with pytest.raises(EngineUnavailable, match="stopped"):
            await ask(dispatcher, request("a"))
        assert dispatcher.availability() == "gone"
        assert "stopped" in dispatcher.trouble()
        await dispatcher.close()

    run(act)
