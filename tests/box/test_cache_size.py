"""The size of the engine's cache of prompts: from the agents' need and the memory there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.box.checkup.healthy import with_part
from tests.box.gguf_files import gguf

from breakeven.box.cache_size import (
    PROMPT_CACHE,
    USUAL_MIB,
    CacheSize,
    PromptDemand,
    Room,
    choose_cache_size,
    outgrown,
)
from breakeven.box.checkup.backend_checks import prompt_cache
from breakeven.box.demand import read_demand
from breakeven.box.engine_fit import cache_size
from breakeven.box.gguf import read_shape
from breakeven.config import EngineSettings, LedgerSettings
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Durations
from breakeven.ledger.store import Store
from breakeven.units import GIB, MIB

STUDIO = Room(available_bytes=120 * GIB, total_bytes=128 * GIB, model_bytes=50 * GIB)
LLAMA_70B = 320 * 1024
NOW = 1_795_000_000.0

demands = st.builds(PromptDemand, st.integers(0, 500), st.integers(0, 10**8))
rooms = st.builds(Room, *(st.integers(0, 1024 * GIB) for _ in range(3)))
sizes = st.none() | st.integers(1, 1 << 22)


@given(demands, sizes, rooms)
def test_the_cache_never_takes_what_the_model_and_other_programs_need(
    demand: PromptDemand, kv: int | None, room: Room
) -> None:
    chosen = choose_cache_size(demand, kv, room)
    assert chosen.mib >= 0
    if chosen.mib:
        assert chosen.mib * MIB + room.model_bytes + room.reserve_bytes <= room.available_bytes


@given(demands, st.integers(1, 1 << 22), rooms)
def test_whatever_is_chosen_all_prompts_fit_it_or_memory_is_what_lacks(
    demand: PromptDemand, kv: int, room: Room
) -> None:
    chosen = choose_cache_size(demand, kv, room).mib
    assert outgrown(demand, kv, chosen) is None or chosen == room.mib
    assert chosen >= min(USUAL_MIB, room.mib)


@given(demands, st.integers(1, 1 << 22), rooms, st.integers(0, 10**7), st.integers(0, 64 * GIB))
def test_more_prompts_or_more_memory_never_make_it_smaller(
    demand: PromptDemand, kv: int, room: Room, tokens: int, free: int
) -> None:
    chosen = choose_cache_size(demand, kv, room).mib
    assert choose_cache_size(replace(demand, tokens=demand.tokens + tokens), kv, room).mib >= chosen
    assert choose_cache_size(demand, kv, replace(room, available_bytes=room.available_bytes + free)).mib >= chosen


def test_it_says_from_which_figures() -> None:
    chosen = choose_cache_size(PromptDemand(31, 62_000), LLAMA_70B, STUDIO)
    needs = "31 agents of the last day need 19,375 MiB (62,000 tokens × 320 KiB)"
    assert chosen == CacheSize(24_219, f"24,219 MiB: {needs}")
    tight = choose_cache_size(PromptDemand(31, 62_000), LLAMA_70B, replace(STUDIO, available_bytes=70 * GIB))
    assert tight.says == (
        f"7,372 MiB: {needs}; 70.0 GiB free, less 50.0 for the model and 12.8 for other programs, leave no more"
    )
    assert choose_cache_size(PromptDemand(), LLAMA_70B, STUDIO).says == (
        "8,192 MiB: the books of the last day name no agents"
    )


def call(number: int, agent: str | None, at: float, provider: str = "engine", **tokens: int) -> Call:
    attempt = Attempt(
        number=1, provider=provider, locality="local", model_asked="m", started_at=at, durations=Durations(),
        outcome="completed", counted_by="engine", reason="", tokens=TokenCounts(**tokens),
    )  # fmt: skip
    return Call(str(number), at, "/v1/chat/completions", "m", False, "completed", (attempt,), agent=agent)


def test_the_books_tell_what_named_agents_need_of_one_provider_within_a_day(tmp_path: Path) -> None:
    store = Store.open(LedgerSettings(), tmp_path)
    store.insert(
        [
            call(1, "triage", NOW - 50, uncached_input=1000, output=100),
            call(2, "triage", NOW - 40, uncached_input=100, cache_read=1500, output=200),
            call(3, "mail", NOW - 30, uncached_input=700),
            call(4, "mail", NOW - 90_000, uncached_input=9_000),
            call(5, None, NOW - 20, uncached_input=5_000),
            call(6, "cloudy", NOW - 10, provider="gpt", uncached_input=5_000),
        ]
    )
    store.close()
    assert read_demand(LedgerSettings(), tmp_path, NOW, provider="engine") == PromptDemand(2, 1800 + 700)


def test_books_that_cannot_be_read_tell_nothing_and_stop_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_demand(LedgerSettings(), tmp_path, NOW, provider="engine") == PromptDemand()
    assert "the ledger's database does not answer" in caplog.text


def test_a_size_that_is_set_is_taken_without_asking_the_books(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf())
    shape = read_shape(tmp_path / "m.gguf")

    def asked() -> PromptDemand:
        raise AssertionError

    assert cache_size(EngineSettings(cache_ram_mib=64), shape, "m", asked).mib == 64
    assert EngineSettings().cache_ram_mib == "auto"
    with pytest.raises(AssertionError):
        cache_size(EngineSettings(), shape, "m", asked)


def test_doctor_tells_of_a_fleet_that_has_outgrown_its_cache() -> None:
    assert prompt_cache(with_part("gateway", checks={})) is None
    fits = prompt_cache(with_part("gateway", checks={PROMPT_CACHE: "8,192 MiB: the books of the last day …"}))
    assert fits is not None
    assert fits.status == "green"
    small = prompt_cache(
        with_part("gateway", checks={PROMPT_CACHE: "outgrown: 31 agents need 19,375 MiB, the cache has 8,192"})
    )
    assert small is not None
    assert small.status == "amber"
    assert small.says.startswith("31 agents need 19,375 MiB, the cache has 8,192; ")
    assert "engine.cache_ram_mib" in small.remedy
