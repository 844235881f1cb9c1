"""Two llama-server processes as one box, behind the gateway."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest
from tests.fakes import child
from tests.gateway.conftest import RunningGateway

from breakeven.box.engine_child import ChildConfig
from breakeven.box.models import ModelFile
from breakeven.config import parse
from breakeven.config.providers import PoolSettings
from breakeven.errors import ConfigError, EngineUnavailable
from breakeven.gateway.pools import Pools
from breakeven.gateway.servers import Servers
from breakeven.providers.base import Provider, ProviderRequest

Serve = Callable[..., RunningGateway]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def llama_server(model: ModelFile, port: int) -> Iterator[subprocess.Popen[str]]:
    config = ChildConfig(
        model_path=str(model.path), alias="m", context=1024, slots=1, threads=1, gpu_layers=0, cache_ram_mib=0,
        embeddings=False, port=port,
    )  # fmt: skip
    command = [sys.executable, "-m", "breakeven.box.engine_child"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with child.running(command, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(config).decode() + "\n")
        process.stdin.flush()
        assert "ready" in child.line_of(process, process.stdout)
        yield process


def homes(gateway: RunningGateway) -> dict[str | None, str]:
    """Which engine's slot holds which agent's prompt."""
    with urllib.request.urlopen(f"{gateway.url}/admin", timeout=30) as response:
        engines = json.loads(response.read())["pools"]["house"]["engines"]
    return {slot["agent"]: engine["name"] for engine in engines for slot in engine["slots"]}


def wake(gateway: RunningGateway, agents: str) -> list[int]:
    """Have agents called at once; returns each one's cached tokens."""

    def call(agent: str) -> int:
        answer = gateway.client().chat.completions.create(
            model="house",
            messages=[
                {"role": "system", "content": f"You are agent {agent}. " + f"{agent} counts stones. " * 40},
                {"role": "user", "content": "Next."},
            ],
            max_tokens=3,
            temperature=0,
            extra_headers={"x-breakeven-agent": agent},
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3
        details = answer.usage.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0

    with ThreadPoolExecutor(len(agents)) as callers:
        return list(callers.map(call, agents))


@pytest.mark.engine
def test_a_pool_keeps_its_agents_apart_loses_no_call_with_a_member_and_uses_it_again(
    serve: Serve, demo_model: ModelFile
) -> None:
    ports = {"one": free_port(), "two": free_port()}
    with llama_server(demo_model, ports["one"]) as one, llama_server(demo_model, ports["two"]) as two:
        gateway = serve(
            {
                "providers": {name: {"base_url": f"http://127.0.0.1:{port}/v1"} for name, port in ports.items()},
                "pools": {"house": {"members": {"one": {"model": "m"}, "two": {}}}},
                "models": {"house": {"provider": "house", "model": "m"}},
            }
        )
        wake(gateway, "ab")
        before = homes(gateway)
        assert set(before) == {"a", "b"}
        assert all(cached > 100 for cached in wake(gateway, "ba"))
        assert homes(gateway) == before
        lost = before["a"]
        (one if lost == "one" else two).kill()
        wake(gateway, "ab")
        assert lost not in homes(gateway).values()
        with llama_server(demo_model, ports[lost]):
            deadline = time.monotonic() + 30
            while lost not in homes(gateway).values() and time.monotonic() < deadline:
                time.sleep(0.05)  # nobody tells: the gateway looks by itself
            wake(gateway, "abc")
            assert lost in homes(gateway).values()
        assert all(call.outcome == "completed" for call in gateway.calls())


def test_a_pool_has_members_that_exist_and_a_name_of_its_own() -> None:
    provider = {"base_url": "http://127.0.0.1:1/v1"}
    with pytest.raises(ConfigError, match=r"pools\.p\.members\.q = 'q': expected the name of a \[providers\] entry"):
        parse({"pools": {"p": {"members": {"q": {}}}}})
    with pytest.raises(ConfigError, match=r"pools\.p = 'p': expected a name that no provider has"):
        parse({"providers": {"p": provider}, "pools": {"p": {"members": {"p": {}}}}})


def test_a_pool_has_members_of_ones_own_only() -> None:
    remote = {"base_url": "https://example.com/v1", "locality": "remote"}
    settings = parse({"providers": {"q": remote}, "pools": {"p": {"members": {"q": {}}}}})
    providers = Servers({}).configure(settings.providers, 0)
    with pytest.raises(ConfigError, match=r"pools\.p\.members\.q = 'remote': expected a server of your own"):
        Pools({}).configure(settings.pools, settings.providers, providers)


def test_a_call_in_the_queue_of_a_pool_that_changes_is_still_answered() -> None:
    async def main() -> None:
        servers, pools = Servers({}), Pools({})
        settings = parse(
            {
                "providers": {"one": {"base_url": f"http://127.0.0.1:{free_port()}/v1"}},
                "pools": {"house": {"members": {"one": {"slots": 1}}, "wait_seconds": 0.3}},
            }
        )

        def configure(wanted: dict[str, PoolSettings]) -> dict[str, Provider]:
            return pools.configure(wanted, settings.providers, servers.configure(settings.providers, 60))

        house = configure(dict(settings.pools))["house"]

        async def call() -> None:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
            async with house.send(ProviderRequest("/chat/completions", body)):
                pass

        waiting = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        configure({})
        await pools.retire()
        with pytest.raises(EngineUnavailable):
            async with asyncio.timeout(20):
                await waiting
        await pools.close()
        await servers.close()

    asyncio.run(main())
