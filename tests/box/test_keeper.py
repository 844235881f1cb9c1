"""Models that stay loaded: what the keeper decides, and what an Ollama sees of it on a socket."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.ollama import Ollama
from tests.fakes.web import Answer, web

from breakeven.box.keeper import LOOK_SECONDS, RELOAD_MOST, Keeper, Resident, Watch, decide
from breakeven.box.ollama import OllamaResidency
from breakeven.errors import EngineUnavailable

DAY = 24 * 3600.0
LLAMA, QWEN = "llama3.3:70b", "qwen3:8b"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_model_is_loaded_at_start_without_a_prompt_and_kept_for_a_day() -> None:
    ollama = Ollama()
    with web(ollama) as server:
        keeper = Keeper(DAY)
        keeper.configure(frozenset({Resident(server.url, LLAMA)}))
        assert keeper.states() == {f"{LLAMA} at {server.url}": "not loaded yet"}
        asyncio.run(keeper.look())
        assert ollama.loaded == {LLAMA: DAY}
        asyncio.run(keeper.look())
        assert ollama.loads == [LLAMA]
        assert keeper.states() == {f"{LLAMA} at {server.url}": "resident"}


def test_for_ever_is_what_ollama_calls_minus_one() -> None:
    ollama = Ollama()
    with web(ollama) as server:
        keeper = Keeper(inf)
        keeper.configure(frozenset({Resident(server.url, LLAMA)}))
        asyncio.run(keeper.look())
        asyncio.run(keeper.look())
    assert ollama.loaded == {LLAMA: -1}
    assert ollama.loads == [LLAMA]


def test_an_embedder_is_loaded_through_the_interface_it_has_and_found_without_its_tag() -> None:
    ollama = Ollama()
    with web(ollama) as server:
        keeper = Keeper(DAY)
        keeper.configure(frozenset({Resident(server.url, "nomic-embed-text")}))
        asyncio.run(keeper.look())
        asyncio.run(keeper.look())
    assert ollama.loads == ["nomic-embed-text:latest"]


def test_a_model_that_was_unloaded_is_back_at_the_next_look() -> None:
    ollama = Ollama()
    with web(ollama) as server:
        keeper = Keeper(DAY)
        keeper.configure(frozenset({Resident(server.url, LLAMA)}))
        asyncio.run(keeper.look())
        asyncio.run(keeper.look())
        ollama.loaded.clear()  # ollama stop, or a restart
        asyncio.run(keeper.look())
    assert ollama.loaded == {LLAMA: DAY}


def test_a_keep_alive_that_a_client_shortened_is_set_again() -> None:
    ollama = Ollama()
    with web(ollama) as server:
        keeper = Keeper(DAY)
        keeper.configure(frozenset({Resident(server.url, LLAMA)}))
        asyncio.run(keeper.look())
        asyncio.run(keeper.look())
        ollama.loaded[LLAMA] = 300
        asyncio.run(keeper.look())
    assert ollama.loaded == {LLAMA: DAY}


def test_two_models_without_room_for_both_do_not_swap_for_ever() -> None:
    ollama, clock = Ollama(room=1), Clock()
    with web(ollama) as server:
        keeper = Keeper(DAY, clock=clock)
        keeper.configure(frozenset({Resident(server.url, LLAMA), Resident(server.url, QWEN)}))

        async def hours(count: int) -> None:
            for _ in range(count * 60):
                await keeper.look()
                clock.now += 60

        asyncio.run(hours(3))
    assert set(ollama.loads) == {LLAMA, QWEN}
    assert len(ollama.loads) < 30


def test_what_ollama_says_of_a_model_it_has_not_is_shown() -> None:
    with web(Ollama()) as server:
        keeper = Keeper(DAY)
        keeper.configure(frozenset({Resident(server.url, "llama9"), Resident(server.url, QWEN)}))
        asyncio.run(keeper.look())
        states = keeper.states()
    assert "model 'llama9' not found" in states[f"llama9 at {server.url}"]
    assert states[f"{QWEN} at {server.url}"] == "resident"


def test_a_server_that_is_away_is_said_to_be() -> None:
    with web(Ollama()) as server:
        pass
    keeper = Keeper(DAY)
    keeper.configure(frozenset({Resident(server.url, LLAMA)}))
    asyncio.run(keeper.look())
    assert "does not answer" in keeper.states()[f"{LLAMA} at {server.url}"]


def test_what_is_not_an_ollama_is_said_to_be_none() -> None:
    with web(lambda _: Answer(b"<html>", 200)) as server, pytest.raises(EngineUnavailable, match="Is it an Ollama"):
        asyncio.run(OllamaResidency(server.url).resident())


def test_it_looks_again_after_each_pause_until_it_is_cancelled() -> None:
    ollama, pauses = Ollama(), list[float]()

    async def run(url: str) -> None:
        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            ollama.loaded.clear()
            if len(pauses) == 3:
                raise asyncio.CancelledError

        keeper = Keeper(DAY, sleep=sleep)
        keeper.configure(frozenset({Resident(url, LLAMA)}))
        with pytest.raises(asyncio.CancelledError):
            await keeper.run()

    with web(ollama) as server:
        asyncio.run(run(server.url))
    assert pauses == [LOOK_SECONDS] * 3


def test_a_model_that_was_idle_for_its_time_is_let_go_and_kept_again_from_its_next_call_on() -> None:
    watch, load = decide(Watch("kept", until=1_000.0, loaded_at=0.0), None, 1_001.0, loaded=False)
    assert (watch.phase, load) == ("idle", False)
    watch, load = decide(watch, None, 9_000.0, loaded=False)
    assert (watch.phase, load) == ("idle", False)
    assert decide(watch, 300.0, 9_100.0, loaded=True)[1]


@given(st.lists(st.booleans(), min_size=1, max_size=400))
def test_reloads_of_a_model_that_never_stays_are_ever_rarer(succeeds: list[bool]) -> None:
    watch, now, reloads = Watch(), 0.0, list[float]()
    for success in succeeds:
        watch, load = decide(watch, None, now, loaded=False)
        if load:
            reloads.append(now)
            watch = watch.loaded(now) if success else watch.failed(now)
        now += LOOK_SECONDS
    pauses = [later - earlier for earlier, later in pairwise(reloads)]
    assert all(pause <= RELOAD_MOST + LOOK_SECONDS for pause in pauses)
    assert len(reloads) <= 12
