"""The supervised engine, on the real llama.cpp with the demo model."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyreqwest.simple.request import pyreqwest_get, pyreqwest_post
from tests.fakes import child

from breakeven.box.cache_size import PromptDemand
from breakeven.box.canary import Canary
from breakeven.box.engine import Engine
from breakeven.box.engine_log import EngineLog
from breakeven.box.kv_files import KvFiles
from breakeven.box.llama_slots import LlamaSlots
from breakeven.box.models import ModelFile
from breakeven.box.supervision import Supervision
from breakeven.config import EngineSettings
from breakeven.errors import EngineUnavailable

pytestmark = pytest.mark.engine

SETTINGS = EngineSettings(context=512, slots=2, cache_ram_mib=0)
WATCHFUL = Supervision(check_every=0.05, check_timeout=0.2, checks_missed=3, backoff_first=0.01)


def on_engine(
    model: ModelFile,
    logs: Path,
    act: Callable[[Engine], Coroutine[Any, Any, None]],
    settings: EngineSettings = SETTINGS,
    **options: Any,
) -> None:
    async def session() -> None:
        engine = Engine(settings, model, logs, supervision=WATCHFUL, **options)
        await engine.start()
        try:
            await act(engine)
        finally:
            await engine.stop()

    asyncio.run(session())


async def ask(engine: Engine, prompt: str = "Say hello.", **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": prompt}], **more}
    request = pyreqwest_post(f"{engine.base_url}/chat/completions").bearer_auth(engine.key).body_json(body)
    response = await request.send()
    return response.status, await response.json()


async def replaced(engine: Engine) -> None:
    while engine.restarts == 0:
        await asyncio.sleep(0.01)
    await engine.wait_ready(30)


def test_it_answers_chats_with_token_counts(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act(engine: Engine) -> None:
        status, answer = await ask(engine)
        assert status == 200
        assert answer["usage"]["completion_tokens"] <= 4
        assert (engine.state.phase, engine.context, engine.slots, engine.restarts) == ("ready", 512, 2, 0)

    on_engine(demo_model, tmp_path, act)


def test_the_cache_of_prompts_is_sized_by_what_the_agents_need(demo_model: ModelFile, tmp_path: Path) -> None:
    async def session() -> None:
        demand = PromptDemand(31, 46_500)
        engine = Engine(EngineSettings(context=512, slots=1), demo_model, tmp_path, demand=lambda: demand)
        await engine.start()
        assert engine.cache is not None
        assert engine.cache.says.startswith(f"{engine.cache.mib:,} MiB: 31 agents of the last day need 1,022 MiB")
        await engine.stop()

    asyncio.run(session())


def test_context_is_never_wider_than_the_model_was_trained_for(demo_model: ModelFile, tmp_path: Path) -> None:
    async def session() -> None:
        engine = Engine(EngineSettings(context=100_000, slots=1), demo_model, tmp_path)
        await engine.start()
        assert engine.context == 8192
        await engine.stop()

    asyncio.run(session())


def test_a_killed_child_is_replaced_while_calls_fail_with_a_retryable_error(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    async def act(engine: Engine) -> None:
        first = engine.pid
        assert first is not None
        calls = [asyncio.create_task(ask(engine, max_tokens=300)) for _ in range(2)]
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Exception) for answer in answers)
        await replaced(engine)
        assert engine.pid != first
        assert engine.state.last_exit == "was killed by SIGKILL"
        assert (await ask(engine))[0] == 200

    on_engine(demo_model, tmp_path, act)


def test_a_hung_child_is_killed_and_replaced(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act(engine: Engine) -> None:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        await replaced(engine)
        assert (await ask(engine))[0] == 200

    on_engine(demo_model, tmp_path, act)


def test_a_child_that_was_found_stuck_is_replaced_and_the_reason_said(
    demo_model: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(engine: Engine) -> None:
        for found in ("slot 1 is stuck", "slot 0 is stuck"):
            before = engine.restarts
            engine.condemn(found)
            while engine.restarts == before:
                await asyncio.sleep(0.01)
            assert (await ask(engine))[0] == 200

    with caplog.at_level(logging.WARNING):
        on_engine(demo_model, tmp_path, act)
    assert [record.getMessage() for record in caplog.records] == [
        "the engine is loaded anew: slot 1 is stuck",
        "the engine is loaded anew: slot 0 is stuck",
    ]


def test_an_engine_whose_answer_to_the_canary_changed_is_loaded_anew_and_says_why(
    demo_model: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    async def act(engine: Engine) -> None:
        known = engine.canary.reference
        assert known
        now[0] += 60  # the same answer again is no reason
        assert (await ask(engine))[0] == 200
        engine.canary = Canary("Caturday")
        while engine.restarts == 0:
            now[0] += 60
            await asyncio.sleep(0.01)
        assert engine.canary == Canary(known)  # two loads agreed
        assert (await ask(engine))[0] == 200

    watched = SETTINGS.model_copy(update={"canary_seconds": 30.0})
    with caplog.at_level(logging.WARNING):
        on_engine(demo_model, tmp_path, act, watched, clock=lambda: now[0])
    reasons = [record.getMessage() for record in caplog.records]
    assert reasons
    assert all("its canary prompt with" in reason and "instead of 'Caturday'" in reason for reason in reasons)


def test_an_embedding_engine_whose_vector_of_the_canary_changed_is_loaded_anew(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    now = [0.0]

    async def act(engine: Engine) -> None:
        known = engine.canary.reference
        assert isinstance(known, tuple)
        assert len(known) == 576
        engine.canary = Canary(known[::-1])
        while engine.restarts == 0:
            now[0] += 60
            await asyncio.sleep(0.01)
        assert engine.canary.judge(known, just_loaded=False) == (engine.canary, None)  # two loads agreed

    watched = SETTINGS.model_copy(update={"canary_seconds": 30.0, "embeddings": True})
    on_engine(demo_model, tmp_path, act, watched, clock=lambda: now[0])


def test_a_quantised_kv_cache_takes_a_little_more_than_half_the_bytes(demo_model: ModelFile, tmp_path: Path) -> None:
    written: list[int] = []

    async def act(engine: Engine) -> None:
        assert (await ask(engine, prompt="word " * 200, id_slot=0))[0] == 200
        slots = LlamaSlots(lambda: engine.base_url.removesuffix("/v1"), lambda: engine.key)
        moved = await slots.save(0, "slot.bin")
        restored = await slots.restore(0, "slot.bin")
        await slots.close()
        assert (restored.tokens, restored.size) == (moved.tokens, moved.size)
        assert engine.kv_bytes_per_token is not None
        assert moved.size == pytest.approx(moved.tokens * engine.kv_bytes_per_token, rel=0.05)
        written.append(moved.size)

    for kept in ("f16", "q8_0"):
        settings = SETTINGS.model_copy(update={"kv_quantisation": kept})
        on_engine(demo_model, tmp_path, act, settings, kv_files=KvFiles(tmp_path / "kv"))
    assert written[1] / written[0] == pytest.approx(34 / 64, rel=0.05)


def test_while_it_restarts_the_error_says_so(demo_model: ModelFile, tmp_path: Path) -> None:
    paused, resume = asyncio.Event(), asyncio.Event()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        paused.set()
        await resume.wait()

    async def act(engine: Engine) -> None:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await paused.wait()
        with pytest.raises(
            EngineUnavailable, match=r"restarting: the engine was killed by SIGKILL.*Try again"
        ) as caught:
            _ = engine.base_url
        assert caught.value.retryable
        assert engine.pid is None
        with pytest.raises(EngineUnavailable, match="restarting"):
            await engine.wait_ready(0.01)
        resume.set()
        await engine.wait_ready(30)
        assert pauses == [0.0075]

    on_engine(demo_model, tmp_path, act, sleep=pause, jitter=lambda: 0.5)


def test_restarts_go_on_until_one_succeeds(demo_model: ModelFile, tmp_path: Path) -> None:
    link = tmp_path / "model.gguf"
    link.symlink_to(demo_model.path)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            link.unlink()
        elif len(pauses) == 3:
            link.symlink_to(demo_model.path)
        await asyncio.sleep(0)

    async def session() -> None:
        model = ModelFile(name="linked", path=link, size=demo_model.size, source="test")
        engine = Engine(SETTINGS, model, tmp_path, supervision=WATCHFUL, sleep=pause, jitter=lambda: 1.0)
        await engine.start()
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await replaced(engine)
        await engine.stop()

    asyncio.run(session())
    assert pauses == [0.01, 0.02, 0.04]


def test_one_that_cannot_be_loaded_at_first_is_tried_again_when_that_is_wanted(
    demo_model: ModelFile, tmp_path: Path
) -> None:
    link = tmp_path / "model.gguf"
    phases: list[str] = []

    async def session() -> None:
        model = ModelFile(name="linked", path=link, size=demo_model.size, source="test")
        engine = Engine(SETTINGS, model, tmp_path, supervision=WATCHFUL, sleep=lambda _: pause(engine))
        await engine.start(keep_trying=True)
        await replaced(engine)
        assert (await ask(engine))[0] == 200
        await engine.stop()

    async def pause(engine: Engine) -> None:
        phases.append(engine.state.phase)
        with pytest.raises(EngineUnavailable, match=r"the local engine is down: .* cannot be read"):
            _ = engine.base_url
        if len(phases) == 2:
            link.symlink_to(demo_model.path)
        await asyncio.sleep(0)

    asyncio.run(session())
    assert phases == ["failed", "failed"]


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_the_pause_before_a_restart_grows_to_a_limit(failures: int, jitter: float) -> None:
    care = Supervision()
    assert care.backoff(failures, 0) <= care.backoff(failures, jitter) <= care.backoff_most
    assert care.backoff(failures, jitter) <= care.backoff(failures + 1, jitter)


def test_a_machine_without_the_library_is_told_what_else_it_can_use(
    demo_model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('no wheel for this platform')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(EngineUnavailable, match=r"cannot run here: no wheel for this platform\. .*Ollama"):
        asyncio.run(Engine(SETTINGS, demo_model, tmp_path).start())


def test_the_log_turns_over_when_it_is_full(tmp_path: Path) -> None:
    log = EngineLog(tmp_path, max_bytes=10, kept_files=2)
    for words in (b"first\n", b"second\n", b"third\n", b"fourth\n"):
        log.write(words)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"engine.log": "fourth\n", "engine.log.1": "third\n", "engine.log.2": "second\n"}


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    log = EngineLog(tmp_path / "logs")
    log.write(b"0.1 E load: no such tensor\n")
    assert log.first_error() == "load: no such tensor"


def test_stopping_ends_the_child_and_is_idempotent(demo_model: ModelFile, tmp_path: Path) -> None:
    async def session() -> None:
        engine = Engine(SETTINGS, demo_model, tmp_path)
        await engine.start()
        child = psutil.Process(engine.pid)
        await engine.stop()
        await engine.stop()
        assert not child.is_running()
        assert engine.state.phase == "stopped"
        with pytest.raises(EngineUnavailable, match="stopped"):
            _ = engine.base_url
        with pytest.raises(EngineUnavailable, match="stopped"):
            await engine.wait_ready(1)

    asyncio.run(session())


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # dead, though nobody has buried it yet
    except psutil.NoSuchProcess:
        return True


def test_no_orphan_is_left_when_the_parent_is_killed(demo_model: ModelFile, tmp_path: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from breakeven.box.engine import Engine
from breakeven.box.models import resolve
from breakeven.config import EngineSettings

async def main():
    engine = Engine(EngineSettings(context=512), resolve({str(demo_model.path)!r}, Path()), Path({str(tmp_path)!r}))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with child.running([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        engine = psutil.Process(int(child.line_of(parent, parent.stdout)))
    deadline = time.monotonic() + 10
    while not has_ended(engine) and time.monotonic() < deadline:
        time.sleep(0.01)  # not our child: nobody tells us
    assert has_ended(engine)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot be read: No such file"),
        (b"no model at all", "is not a GGUF file"),
        (b"GGUF\x03\0\0\0", "is damaged"),
    ],
)
def test_an_unusable_file_is_reported_with_its_cause(content: bytes | None, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    model = ModelFile(name="bad", path=path, size=0, source="test")
    engine = Engine(SETTINGS, model, tmp_path)
    with pytest.raises(EngineUnavailable, match=cause):
        asyncio.run(engine.start())
    assert (engine.state.phase, engine.pid) == ("failed", None)


def test_a_model_that_llama_cpp_refuses_is_reported_in_its_words(demo_model: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "strange.gguf"
    path.write_bytes(
        demo_model.path.read_bytes().replace(
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
            b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0quark",
        )
    )
    model = ModelFile(name="strange", path=path, size=0, source="test")
    with pytest.raises(EngineUnavailable, match=r"'strange'.*unknown model architecture: 'quark'"):
        asyncio.run(Engine(SETTINGS, model, tmp_path).start())


def test_a_load_that_takes_too_long_is_given_up(demo_model: ModelFile, tmp_path: Path) -> None:
    engine = Engine(EngineSettings(start_seconds=0.01), demo_model, tmp_path)
    with pytest.raises(EngineUnavailable, match=r"engine\.start_seconds = 0\.01"):
        asyncio.run(engine.start())
    assert engine.pid is None


def test_its_words_go_to_the_log_file(demo_model: ModelFile, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def act(engine: Engine) -> None:
        await ask(engine)

    on_engine(demo_model, tmp_path, act)
    assert "model loaded" in (tmp_path / "engine.log").read_text()
    assert capfd.readouterr() == ("", "")


def test_as_an_embedding_model_it_takes_a_text_as_long_as_its_context(demo_model: ModelFile, tmp_path: Path) -> None:
    async def session() -> None:
        engine = Engine(EngineSettings(context=1024, slots=1, embeddings=True), demo_model, tmp_path)
        await engine.start()
        request = pyreqwest_post(f"{engine.base_url}/embeddings").bearer_auth(engine.key)
        response = await request.body_json({"model": "demo", "input": ["word " * 900, "short"]}).send()
        answer = await response.json()
        await engine.stop()
        assert response.status == 200
        assert [len(row["embedding"]) for row in answer["data"]] == [576, 576]

    asyncio.run(session())


def test_nobody_without_its_key_can_use_it(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act(engine: Engine) -> None:
        response = await pyreqwest_post(f"{engine.base_url}/chat/completions").body_json({"messages": []}).send()
        assert response.status == 401

    on_engine(demo_model, tmp_path, act)


def test_health_is_served_outside_the_versioned_interface(demo_model: ModelFile, tmp_path: Path) -> None:
    async def act(engine: Engine) -> None:
        response = await pyreqwest_get(engine.base_url.removesuffix("/v1") + "/health").send()
        assert await response.json() == {"status": "ok"}

    on_engine(demo_model, tmp_path, act)
