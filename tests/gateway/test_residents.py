"""Which models a gateway keeps loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ollama import Ollama
from tests.fakes.web import web

from breakeven import config
from breakeven.box.discovery import Found, FoundModel
from breakeven.box.keeper import Resident
from breakeven.gateway.assembly import Assembly, assemble
from breakeven.gateway.residents import boxes_here, models_to_keep

HOME = "http://127.0.0.1:11434"
STUDIO = "http://127.0.0.2:11434"
SETTINGS: dict[str, Any] = {
    "providers": {
        "ollama": {"profile": "ollama"},
        "studio": {"base_url": f"{STUDIO}/v1", "key": "env:STUDIO"},
        "llama": {"profile": "llama-server"},
        "rented": {"base_url": "https://ollama.example:11434/v1"},
    },
    "pools": {"house": {"members": {"ollama": {"model": "llama3.3:70b"}, "studio": {}, "llama": {}}}},
    "models": {
        "local": {"provider": "house", "model": "llama3.3"},
        "small": {"provider": "ollama", "model": "qwen3:8b"},
        "far": {"provider": "rented", "model": "llama3.3"},
        "other": {"provider": "llama", "model": "gpt-oss"},
    },
}


def kept(settings: dict[str, Any], home: Path, found: tuple[Found, ...] = ()) -> frozenset[Resident]:
    async def look_around() -> tuple[Found, ...]:
        return found

    async def run() -> frozenset[Resident]:
        parsed = config.parse({**settings, "box": {"keep_alive_hours": 0}})
        async with assemble(parsed, home, {"STUDIO": "s3cret"}, look_around=look_around) as assembly:
            return models_to_keep(parsed, found, assembly.desk.table, {"STUDIO": "s3cret"})

    return asyncio.run(run())


def test_configured_models_of_every_ollama_of_ones_own_are_kept_pools_included(tmp_path: Path) -> None:
    wanted = kept(SETTINGS, tmp_path)
    assert wanted == {
        Resident(HOME, "llama3.3:70b"),
        Resident(HOME, "qwen3:8b"),
        Resident(STUDIO, "llama3.3", "s3cret"),
    }
    assert "s3cret" not in repr(wanted)


def test_of_an_ollama_found_here_the_default_model_is_kept(tmp_path: Path) -> None:
    models = (FoundModel("nomic-embed", embeddings=True), FoundModel("cold"), FoundModel("warm", loaded=True))
    assert kept({}, tmp_path, (Found("ollama", f"{HOME}/v1", "0.14", models),)) == {Resident(HOME, "warm")}


async def _until(assembly: Assembly, name: str, words: str) -> None:
    async with asyncio.timeout(30):
        while assembly.desk.readiness().checks.get(name) != words:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("hours", "seconds"), [(24, 86_400.0), ("forever", -1)])
def test_a_gateway_loads_its_model_and_says_so_where_it_says_that_it_is_ready(
    hours: float | str, seconds: float, tmp_path: Path
) -> None:
    ollama = Ollama()

    async def run(url: str) -> None:
        settings = {
            "box": {"keep_alive_hours": hours},
            "providers": {"ollama": {"profile": "ollama", "base_url": f"{url}/v1"}},
            "models": {"local": {"provider": "ollama", "model": "qwen3:8b"}},
        }
        async with assemble(config.parse(settings), tmp_path, {}) as assembly:
            await _until(assembly, f"model qwen3:8b at {url}", "resident")

    with web(ollama) as server:
        asyncio.run(run(server.url))
    assert ollama.loaded == {"qwen3:8b": seconds}


def test_what_runs_on_this_machine_is_told_from_what_only_belongs_to_its_owner(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "providers": {
            "ollama": {"profile": "ollama"},
            "llama": {"profile": "llama-server"},
            "studio": {"base_url": "http://192.168.1.20:8080/v1", "locality": "local"},
            "cloud": {"base_url": "https://api.example/v1"},
        },
        "pools": {"near": {"members": {"ollama": {}, "llama": {}}}, "mixed": {"members": {"llama": {}, "studio": {}}}},
        "models": {"local": {"provider": "near", "model": "m"}, "other": {"provider": "mixed", "model": "m"}},
    }
    parsed = config.parse({**settings, "box": {"keep_alive_hours": 0}})

    async def run() -> tuple[frozenset[str], set[str]]:
        async with assemble(parsed, tmp_path, {}) as assembly:
            providers = {route.provider.name: route.provider for route in assembly.desk.table}
            here, queues = boxes_here(parsed, providers, ())
            return here, set(queues)

    assert asyncio.run(run()) == ({"ollama", "llama", "near"}, {"near"})
