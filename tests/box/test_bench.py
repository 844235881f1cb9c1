"""Measuring a box: what the servers say of their own time, what the clock says, and what is kept of it."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

import pytest
from tests.fakes.model_servers import (
    DECODE_SECONDS,
    LOAD_SECONDS,
    OLLAMA_PAGES,
    PREFILL_SECONDS,
    VLLM_PAGES,
    ModelServer,
    serving,
)
from typer.testing import CliRunner

from breakeven import config
from breakeven.box.bench import Bench, BenchPlan, BenchResult, _common_step, bench_plan
from breakeven.box.bench_client import BenchClient, OllamaDialect, OpenAIDialect, Reading
from breakeven.box.bench_run import take_measurement
from breakeven.box.bench_target import open_target
from breakeven.box.models import ModelFile
from breakeven.catalog.measurements import Measurement, Measurements
from breakeven.cli.main import build
from breakeven.config import BoxSettings, EngineSettings, Settings
from breakeven.errors import InputError, UnknownModel, UpstreamError

PLAN = BenchPlan((32, 256), (), 8, most_runs=2, point_seconds=10, longest_seconds=60, idle_seconds=4)


def bench(server: ModelServer, plan: BenchPlan = PLAN, **more: object) -> BenchResult:
    async def run() -> BenchResult:
        dialect = OllamaDialect("m") if server.kind == "ollama" else OpenAIDialect("m")
        client = BenchClient(server.url, dialect)
        try:
            return await Bench(client, plan, seed=1, **more).run()  # type: ignore[arg-type]
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_plan_stays_within_the_context_and_the_slots() -> None:
    plan = bench_plan(quick=False, context=2048, most_parallel=6)
    assert plan.lengths == (32, 128, 512, 1024)
    assert plan.parallel == (2, 4, 6)
    assert bench_plan(quick=True, context=None, most_parallel=1).parallel == ()
    assert bench_plan(quick=True, context=64, most_parallel=1).lengths == (16,)


def test_ollamas_own_durations_are_taken_with_the_load_apart() -> None:
    with serving("ollama") as server:
        result = bench(server)
    assert result.timed_by == "engine"
    assert result.load_seconds == LOAD_SECONDS
    assert [point.seconds.median for point in result.prefill] == pytest.approx(
        [point.prompt_tokens * PREFILL_SECONDS for point in result.prefill]
    )
    assert all(point.seconds.median == pytest.approx(DECODE_SECONDS) for point in result.decode)
    assert [point.prompt_tokens for point in result.prefill] == pytest.approx([32, 256], rel=0.1)


def test_no_prompt_is_sent_twice_but_the_one_that_is_to_be_found_in_the_cache() -> None:
    with serving("ollama") as server:
        bench(server)
        prompts = [body["prompt"] for body in server.asked]
    assert prompts[-1] == prompts[-2]
    assert len(set(prompts)) == len(prompts) - 1


def test_a_server_that_computes_the_same_prompt_again_is_noticed() -> None:
    with serving("ollama") as server:
        assert bench(server).notes == []
    with serving("ollama", forgets=True) as server:
        assert "does not reuse prompts of this model" in bench(server).notes[0]


def test_a_server_without_times_of_its_own_is_timed_by_the_clock() -> None:
    with serving("vllm") as server:
        result = bench(server)
    assert result.timed_by == "outside"
    assert result.overhead_seconds == 0
    assert all(point.seconds.median > 0 for point in (*result.prefill, *result.decode))


def test_pieces_that_hold_several_tokens_are_spread_over_their_count() -> None:
    reading = Reading(0.0, [(0.1 * piece, piece) for piece in range(1, 11)], output_tokens=19)
    OpenAIDialect("m").finish(reading)
    assert reading.marks[-1] == (1.0, 19)
    assert reading.step_seconds() == pytest.approx(0.05)


def test_a_server_that_cuts_prompts_off_is_noticed_and_longer_ones_are_left_out() -> None:
    plan = BenchPlan((32, 256, 512), (), 8, most_runs=1, point_seconds=10, longest_seconds=60, idle_seconds=0)
    with serving("ollama", longest=100) as server:
        result = bench(server, plan)
    assert [round(point.prompt_tokens, -1) for point in result.prefill] == [30]
    assert "cuts prompts off" in result.notes[0]


def test_a_server_that_reads_next_to_nothing_cannot_be_measured() -> None:
    with serving("ollama", longest=1) as server, pytest.raises(UpstreamError, match="too short to be timed"):
        bench(server)


def test_a_prompt_that_would_take_too_long_is_left_out_and_said_so() -> None:
    plan = BenchPlan((32, 50_000), (), 8, most_runs=1, point_seconds=10, longest_seconds=60, idle_seconds=0)
    with serving("ollama") as server:
        result = bench(server, plan)
    assert len(result.prefill) == 1
    assert "50,000 tokens and more were left out" in result.notes[0]


def test_answers_that_come_one_after_the_other_are_no_batch() -> None:
    one = Reading(0.0, [(1.0 + i, i + 1) for i in range(8)])
    late = Reading(0.0, [(20.0 + i, i + 1) for i in range(8)])
    assert _common_step([one, late]) is None
    assert _common_step([one, one]) == 1.0


class Meter:
    """10 W while idle, then 0.01 Wh with every reading."""

    name = "fake"

    def __init__(self) -> None:
        self.readings = itertools.chain([0.0, 10 * 4 / 3600], itertools.count(1, 0.01))

    def read(self) -> float:
        return next(self.readings)


def test_a_meter_gives_the_idle_draw_and_that_at_work() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with serving("ollama") as server:
        result = bench(server, meter=Meter(), sleep=sleep)
    assert waited == [4]
    assert result.watts is not None
    assert result.watts.idle == 10
    assert result.watts.load > 10


class Queue:
    """A server that stood without a CPU for so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def read(self) -> dict[str, float]:
        return {"thread": 0.0}

    def waited_since(self, before: dict[str, float]) -> float:
        return self.seconds


def test_time_without_a_cpu_is_taken_out_of_a_reading_alike() -> None:
    reading = Reading(10.0, [(12.0, 1), (14.0, 2)], prefill=1.8, decode=2.0, output_tokens=2)
    alone = reading.without(0.25)
    assert alone.marks == [(11.5, 1), (13.0, 2)]
    assert (alone.prefill, alone.decode, alone.load) == (pytest.approx(1.35), pytest.approx(1.5), None)


def test_what_the_server_waited_for_a_cpu_is_kept_and_never_makes_a_time_vanish() -> None:
    with serving("ollama") as server:
        result = bench(server, cpu_queue=Queue(1e6))
    assert result.waited_share == pytest.approx(0.9)
    assert all(point.seconds.median > 0 for point in result.prefill)
    with serving("ollama") as server:
        assert bench(server, cpu_queue=Queue(0)).waited_share == 0


def test_progress_names_what_is_done_and_ends_at_the_whole() -> None:
    seen: list[tuple[str, float]] = []
    with serving("ollama") as server:
        bench(server, step=lambda doing, share: seen.append((doing, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert seen[-1] == ("done", 1.0)


def test_an_error_within_an_answer_is_raised_not_measured() -> None:
    with serving("ollama", broken=True) as server, pytest.raises(UpstreamError, match="out of memory"):
        bench(server)


def measured(server: ModelServer, model: str | None = None) -> Measurement:
    async def run() -> Measurement:
        async with open_target(Settings(), Path(), model=model, base_url=server.url) as target:
            return await take_measurement(target, BoxSettings(machine="m4-max-128"), quick=True, most_parallel=1)

    return asyncio.run(run())


def test_a_running_ollama_is_measured_and_its_model_recognised() -> None:
    with serving("ollama", pages=OLLAMA_PAGES) as server:
        taken = measured(server)
    assert (taken.engine.kind, taken.engine.version, taken.engine.context) == ("ollama", "0.12.6", 4096)
    assert (taken.model, taken.shape, taken.machine) == ("llama3.3:70b", "llama-3.3-70b-q4_k_m", "m4-max-128")
    assert taken.step_times().prefill_tokens_per_second(1000) == pytest.approx(1 / PREFILL_SECONDS, rel=0.01)


def test_a_model_named_is_measured_where_a_configured_server_offers_it() -> None:
    async def target_of(model: str | None, url: str) -> str:
        settings = config.parse({"providers": {"house": {"base_url": f"{url}/v1"}}})
        async with open_target(settings, Path(), model=model, base_url=None) as target:
            return f"{target.model} on {target.used.kind}"

    with serving("ollama", pages=OLLAMA_PAGES) as server:
        found = [asyncio.run(target_of(model, server.url)) for model in ("llama3.3:70b", None)]
    assert found == ["llama3.3:70b on ollama"] * 2


def test_a_running_vllm_is_measured_from_outside() -> None:
    with serving("vllm", pages=VLLM_PAGES) as server:
        taken = measured(server)
    assert (taken.engine.kind, taken.timed_by, taken.shape) == ("vllm", "outside", None)


def test_a_model_that_the_server_does_not_offer_is_refused_with_those_it_has() -> None:
    with serving("ollama", pages=OLLAMA_PAGES) as server, pytest.raises(UnknownModel, match=r"has llama3\.3:70b"):
        measured(server, "mistral")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:1"])
def test_an_address_at_which_nothing_known_answers_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="--base-url"):
        measured(ModelServer("none", url=address))


def test_the_command_keeps_what_it_measured_and_lists_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with serving("ollama", pages=OLLAMA_PAGES) as server:
        done = CliRunner().invoke(
            build(), ["measure", "--quick", "--parallel", "1", "--json", "--base-url", server.url]
        )
    assert done.exit_code == 0, done.output
    (kept,) = Measurements(tmp_path).all()
    assert json.loads(done.stdout)["taken_at"] == kept.taken_at
    listed = CliRunner().invoke(build(), ["measure", "--list"], env={"COLUMNS": "120"})
    assert "llama3.3:70b" in listed.stdout


@pytest.mark.engine
def test_the_embedded_engine_is_started_measured_and_stopped(demo_model: ModelFile, tmp_path: Path) -> None:
    settings = Settings(engine=EngineSettings(model=str(demo_model.path), context=256, slots=2, cache_ram_mib=0))
    plan = BenchPlan((16, 48), (2,), 8, most_runs=1, point_seconds=10, longest_seconds=60, idle_seconds=0)

    async def run() -> BenchResult:
        async with open_target(settings, tmp_path, model=None, base_url=None) as target:
            assert (target.used.slots, target.used.context) == (2, 256)
            client = BenchClient(target.root, target.dialect, key=target.key)
            try:
                return await Bench(client, plan, seed=1).run()
            finally:
                await client.close()

    result = asyncio.run(run())
    assert result.timed_by == "engine"
    assert [point.prompt_tokens for point in result.prefill] == [16, 48]
    assert {point.parallel for point in result.decode} == {1, 2}
    assert result.cached_seconds is not None
