"""Finding the model servers that run on this machine, by the wire formats they publish."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack

import msgspec
import pytest
from tests.fakes import child
from tests.fakes.web import Answer, as_json, fixed_web

from breakeven.box.discovery import Found, FoundModel, Kind, discover
from breakeven.box.engine_child import ChildConfig, Ready
from breakeven.box.models import ModelFile

OLLAMA = {
    "/api/version": as_json({"version": "0.12.6"}),
    "/api/tags": as_json(
        {
            "models": [
                {"name": "llama3.3:70b", "model": "llama3.3:70b", "size": 42520413916, "details": {"family": "llama"}},
                {"name": "nomic-embed-text:latest", "size": 274302450, "capabilities": ["embedding"]},
            ]
        }
    ),
    "/api/ps": as_json({"models": [{"name": "llama3.3:70b", "size_vram": 42520413916, "context_length": 32768}]}),
}
LM_STUDIO = {
    "/api/v0/models": as_json(
        {
            "object": "list",
            "data": [
                {
                    "id": "qwen3-8b",
                    "object": "model",
                    "type": "llm",
                    "publisher": "qwen",
                    "state": "loaded",
                    "max_context_length": 40960,
                    "loaded_context_length": 8192,
                },
                {"id": "nomic-embed", "type": "embeddings", "state": "not-loaded", "max_context_length": 2048},
            ],
        }
    )
}
LLAMA_SERVER = {
    "/props": as_json(
        {
            "default_generation_settings": {"id": 0, "n_ctx": 4096},
            "total_slots": 4,
            "build_info": "b6500-abc",
            "chat_template": "…",
        }
    ),
    "/v1/models": as_json({"object": "list", "data": [{"id": "gpt-oss.gguf", "owned_by": "llamacpp", "meta": {}}]}),
}
VLLM = {
    "/version": as_json({"version": "0.11.0"}),
    "/v1/models": as_json(
        {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 40960}]}
    ),
}
WIRE: dict[Kind, dict[str, Answer]] = {
    "ollama": OLLAMA,
    "lmstudio": LM_STUDIO,
    "llama-server": LLAMA_SERVER,
    "vllm": VLLM,
}


def test_each_server_is_found_with_its_models() -> None:
    with ExitStack() as running:
        servers = {kind: running.enter_context(fixed_web(pages)) for kind, pages in WIRE.items()}
        found = asyncio.run(discover({kind: server.port for kind, server in servers.items()}))
        urls = {kind: f"{server.url}/v1" for kind, server in servers.items()}
    assert found == (
        Found(
            "ollama",
            urls["ollama"],
            "0.12.6",
            (
                FoundModel("llama3.3:70b", context=32768, loaded=True),
                FoundModel("nomic-embed-text:latest", loaded=False, embeddings=True),
            ),
        ),
        Found(
            "lmstudio",
            urls["lmstudio"],
            None,
            (
                FoundModel("qwen3-8b", context=8192, loaded=True, embeddings=False),
                FoundModel("nomic-embed", context=2048, loaded=False, embeddings=True),
            ),
        ),
        Found(
            "llama-server",
            urls["llama-server"],
            "b6500-abc",
            (FoundModel("gpt-oss.gguf", context=4096, loaded=True),),
            slots=4,
        ),
        Found("vllm", urls["vllm"], "0.11.0", (FoundModel("Qwen/Qwen3-8B", context=40960, loaded=True),)),
    )


@pytest.mark.parametrize("kind", WIRE)
@pytest.mark.parametrize("other", WIRE)
def test_one_server_is_never_taken_for_another(kind: Kind, other: Kind) -> None:
    with fixed_web(WIRE[other]) as server:
        found = asyncio.run(discover({kind: server.port}))
    assert [server.kind for server in found] == ([kind] if kind == other else [])


@pytest.mark.parametrize("kind", WIRE)
@pytest.mark.parametrize(
    "page",
    [
        Answer(b"<html>It works!</html>"),
        Answer(b"{}"),
        Answer(b"[]"),
        Answer(b'{"version": 3, "models": null, "data": [{}]}'),
        Answer(b'"\xff\xfe"'),
        Answer(b"", status=302, headers={"Location": "/login"}),
        Answer(b"", status=500),
        Answer(b"cut off in the middle", cut_after=3),
    ],
)
def test_any_other_program_on_the_port_is_left_alone(kind: Kind, page: Answer) -> None:
    paths = [path for pages in WIRE.values() for path in pages]
    with fixed_web(dict.fromkeys(paths, page)) as server:
        assert asyncio.run(discover({kind: server.port})) == ()


def test_a_free_port_and_a_silent_one_are_passed_over() -> None:
    async def search() -> tuple[Found, ...]:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        free = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        ports = [listener.sockets[0].getsockname()[1] for listener in (silent, free)]
        free.close()
        await free.wait_closed()
        async with silent:
            return await discover({"ollama": ports[0], "vllm": ports[1]}, timeout=0.1)

    assert asyncio.run(search()) == ()


@pytest.mark.engine
def test_a_real_llama_cpp_listener_is_recognised(demo_model: ModelFile) -> None:
    config = ChildConfig(
        model_path=str(demo_model.path),
        alias="tiny",
        context=512,
        slots=1,
        threads=1,
        gpu_layers=0,
        cache_ram_mib=0,
        embeddings=False,
    )
    command = [sys.executable, "-m", "breakeven.box.engine_child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with child.running(command, **pipes) as server:
        assert server.stdin is not None
        server.stdin.write(msgspec.json.encode(config).decode() + "\n")
        server.stdin.flush()
        address = msgspec.json.decode(child.line_of(server, server.stdout), type=Ready).address
        port = int(address.rsplit(":", 1)[1])
        (found,) = asyncio.run(discover(dict.fromkeys(WIRE, port), timeout=5))
    assert (found.kind, found.base_url) == ("llama-server", f"{address}/v1")
    assert found.models == (FoundModel("tiny", context=512, loaded=True),)
