"""Reads the gateway and the model servers: what they say of themselves, and what they read of a probe."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.box.bench_client import BenchClient, OllamaDialect, OpenAIDialect, WordsDialect
from breakeven.box.checkup.facts import BackendFacts, GatewayFacts, Probe
from breakeven.box.discovery import Found, FoundModel
from breakeven.box.local_servers import local_servers
from breakeven.box.ollama import FOREVER, seconds_left
from breakeven.config import Settings
from breakeven.errors import UpstreamError
from breakeven.units import Tokens

TIMEOUT = timedelta(seconds=5)
LONGEST_PROBE: Tokens = 16_000
USUAL_PROBE: Tokens = 5_000
"""Longer than the 4,096 tokens of context that Ollama gives a model by default."""


async def read_gateway(settings: Settings) -> GatewayFacts:
    """Whether the configured gateway runs and is ready."""
    host = settings.gateway.host
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  compared with, not bound
    address = f"{f'[{reachable}]' if ':' in reachable else reachable}:{settings.gateway.port}"
    async with ClientBuilder().no_proxy().http1_only().timeout(TIMEOUT).build() as client:
        try:
            response = await client.get(f"http://{address}/ready").build().send()
            said = msgspec.json.decode(bytes(await response.bytes()))
        except RequestError:
            return GatewayFacts(address, listening=await _listens(reachable, settings.gateway.port))
        except msgspec.DecodeError:
            return GatewayFacts(address, listening=True)
    if not isinstance(said, dict) or not isinstance(said.get("ready"), bool) or "checks" not in said:
        return GatewayFacts(address, listening=True)
    checks = {str(name): str(state) for name, state in dict(said["checks"]).items()}
    return GatewayFacts(address, listening=True, ready=said["ready"], checks=checks)


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # a timeout is one
        return False
    writer.close()
    return True


async def read_backends(settings: Settings, longest_prompt: Tokens | None, *, probe: bool) -> tuple[BackendFacts, ...]:
    """The local providers that are configured, else what runs on this machine.

    Args:
        longest_prompt: that real calls sent; a probe is as long.
        probe: whether to send prompts, which takes the server some seconds.
    """
    return tuple(
        [await _read(server, settings, longest_prompt, probe=probe) for server in await local_servers(settings)]
    )


def _meant(server: Found, settings: Settings) -> FoundModel | None:
    """The model that calls would go to: a configured one, else a loaded one, else the first."""
    wanted = {model.model for model in settings.models.values()}
    offered = [model for model in server.models if not model.embeddings]
    return next(
        (model for model in offered if model.id in wanted),
        next((model for model in offered if model.loaded), offered[0] if offered else None),
    )


async def _read(server: Found, settings: Settings, longest_prompt: Tokens | None, *, probe: bool) -> BackendFacts:
    model = _meant(server, settings)
    facts: dict[str, Any] = {"kind": server.kind, "address": server.base_url, "version": server.version}
    if model is None:
        return BackendFacts(**facts)
    facts |= {"model": model.id, "loaded": model.loaded, "context": model.context}
    root = server.base_url.removesuffix("/v1")
    if probe and server.kind in ("ollama", "lmstudio"):  # the others refuse what does not fit
        dialect = OllamaDialect(model.id) if server.kind == "ollama" else OpenAIDialect(model.id)
        length = min(longest_prompt or USUAL_PROBE, LONGEST_PROBE)
        try:
            facts["probe"] = await send_probe(root, dialect, length)
        except UpstreamError as error:
            facts["probe_error"] = error.message
    if server.kind == "ollama":
        facts |= await _ollama(root, model.id)
        if "probe" not in facts and facts.get("keep_alive") != FOREVER:
            facts["keep_alive"] = None  # what is left says how long it is kept only right after a call
    return BackendFacts(**facts)


async def send_probe(root: str, dialect: WordsDialect, length: Tokens) -> Probe:
    """A short prompt to learn how long words are, then a long one; two tokens of answer each.

    Raises:
        UpstreamError: the server refuses or breaks off.
    """
    rng = random.Random(length)  # noqa: S311  not a secret
    client = BenchClient(root, dialect)
    try:
        short = dialect.prompt(200, rng)
        dialect.learn(short, await client.call(short, 2))
        long = dialect.prompt(length, rng)
        reading = await client.call(long, 2)
    finally:
        await client.close()
    sent = round(len(str(long).split()) * dialect.tokens_per_word)
    return Probe(sent, (reading.input_tokens or 0) + (reading.cached_tokens or 0))


async def _ollama(root: str, model: str) -> dict[str, Any]:
    """What ``/api/ps`` says of a loaded model; right after a call, what is left is the keep-alive."""
    async with ClientBuilder().no_proxy().http1_only().timeout(TIMEOUT).build() as client:
        running = (await _get(client, root + "/api/ps")).get("models") or []
    row = next((row for row in running if row.get("name") == model), None)
    if row is None:
        return {"loaded": False}
    return {
        "loaded": True,
        "context": row.get("context_length"),
        "size_bytes": row.get("size"),
        "on_gpu_bytes": row.get("size_vram"),
        "keep_alive": seconds_left(row.get("expires_at"), datetime.now(UTC)),
    }


async def _get(client: Client, url: str) -> dict[str, Any]:
    try:
        response = await client.get(url).build().send()
        answer = msgspec.json.decode(bytes(await response.bytes()))
    except (RequestError, msgspec.DecodeError):
        return {}
    return answer if response.status == HTTPStatus.OK and isinstance(answer, dict) else {}
