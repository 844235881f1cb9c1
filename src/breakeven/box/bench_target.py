"""Which server ``breakeven measure`` times: the one named, the one that runs here, or the embedded engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.box.bench_client import Dialect, LlamaServerDialect, OllamaDialect, OpenAIDialect
from breakeven.box.discovery import Found, recognise
from breakeven.box.engine import Engine, default_threads
from breakeven.box.local_servers import local_servers
from breakeven.box.models import Progress, no_progress, resolve
from breakeven.catalog.measurements import EngineUsed
from breakeven.catalog.shapes import match_shape
from breakeven.config import Settings
from breakeven.economics.memory import MICRO_BATCH_TOKENS
from breakeven.errors import EngineUnavailable, InputError, UnknownModel
from breakeven.units import Seconds, Tokens

ENGINE = "engine"
DEFAULT_PARALLEL = 4
"""Answers at once to try where a server does not state its slots."""
LLAMA_SERVER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Target:
    """A server ready to be timed.

    Attributes:
        root: its address, without ``/v1``.
        shape: the catalogue's row of its model, where size and quantisation tell.
        pid: of its process, where it is ours.
        load_seconds: how long loading took, if it was loaded for this.
    """

    root: str
    model: str
    dialect: Dialect
    used: EngineUsed
    key: str | None = None
    shape: str | None = None
    pid: int | None = None
    load_seconds: Seconds | None = None

    @property
    def most_parallel(self) -> int:
        """Answers at once worth trying."""
        return self.used.slots or DEFAULT_PARALLEL


@asynccontextmanager
async def open_target(
    settings: Settings,
    home: Path,
    *,
    model: str | None,
    base_url: str | None,
    key: str | None = None,
    progress: Progress = no_progress,
) -> AsyncIterator[Target]:
    """Find the server; the embedded engine is started for this and stopped after.

    Raises:
        InputError: no server answers at ``base_url``, or it does not offer the model.
        EngineUnavailable: the engine cannot be started.
    """
    if base_url is not None:
        yield await _running(await _recognised(base_url, key), model, key)
        return
    servers = [server for server in await local_servers(settings) if _offers(server, model)]
    if servers and (model is not None or "engine" not in settings.model_fields_set):
        yield await _running(servers[0], model, key)
        return
    async with _engine(settings, home, model, progress) as target:
        yield target


@asynccontextmanager
async def _engine(settings: Settings, home: Path, model: str | None, progress: Progress) -> AsyncIterator[Target]:
    engine_settings = settings.engine if model is None else settings.engine.model_copy(update={"model": model})
    file = await asyncio.to_thread(resolve, engine_settings.model, home, progress)
    engine = Engine(engine_settings, file, home / "logs")
    began = perf_counter()
    await engine.start()
    loaded = perf_counter() - began
    try:
        root = engine.base_url.removesuffix("/v1")
        vocabulary = await _vocabulary(root, engine.key)
        shape = file.shape()
        used = EngineUsed(
            ENGINE,
            _engine_version(),
            slots=engine.slots,
            context=engine.context,
            threads=engine_settings.threads or default_threads(),
            gpu_layers=engine_settings.gpu_layers,
            batch_tokens=MICRO_BATCH_TOKENS,
        )
        yield Target(
            root,
            file.name,
            LlamaServerDialect(file.name, vocabulary),
            used,
            key=engine.key,
            shape=match_shape(shape.parameter_count, shape.quantisation),
            pid=engine.pid,
            load_seconds=loaded,
        )
    finally:
        await engine.stop()


def _offers(server: Found, model: str | None) -> bool:
    return any(model in (None, offer.id) for offer in server.models if not offer.embeddings)


async def _recognised(base_url: str, key: str | None) -> Found:
    split = urlsplit(base_url)
    if split.scheme not in ("http", "https") or not split.netloc:
        raise InputError(f"--base-url {base_url}: expected http://HOST:PORT")
    found = await recognise(f"{split.scheme}://{split.netloc}", key)
    if found is None:
        raise InputError(
            f"--base-url {base_url}: nothing there answers like Ollama, LM Studio, llama-server or vLLM",
            remedy="Check that it runs and that the port is right.",
        )
    return found


async def _running(server: Found, model: str | None, key: str | None) -> Target:
    """A server that runs already, and the model of it that is meant."""
    offered = [offer for offer in server.models if not offer.embeddings]
    loaded = [offer for offer in offered if offer.loaded]
    fitting = [offer for offer in offered if offer.id == model] if model else loaded or offered
    chosen = next(iter(fitting), None)
    if chosen is None:
        names = ", ".join(offer.id for offer in offered) or "no model"
        raise UnknownModel(f"{server.kind} at {server.base_url} does not offer {model!r}; it has {names}")
    root = server.base_url.removesuffix("/v1")
    used = EngineUsed(server.kind, server.version, slots=server.slots, context=chosen.context)
    if server.kind == "llama-server":
        listed = await _listed_model(root, key)
        meta = listed.get("meta") or {}
        used = msgspec.structs.replace(used, batch_tokens=LLAMA_SERVER_BATCH)
        dialect: Dialect = LlamaServerDialect(chosen.id, int(meta.get("n_vocab") or 32_000))
        shape = match_shape(meta.get("n_params"), _first_word(meta.get("ftype")))
        return Target(root, chosen.id, dialect, used, key, shape)
    if server.kind == "ollama":
        shown = await _json(root + "/api/show", {"model": chosen.id}, key)
        parameters = (shown.get("model_info") or {}).get("general.parameter_count")
        shape = match_shape(parameters, (shown.get("details") or {}).get("quantization_level"))
        return Target(root, chosen.id, OllamaDialect(chosen.id), used, key, shape)
    return Target(root, chosen.id, OpenAIDialect(chosen.id), used, key)


async def _vocabulary(root: str, key: str | None) -> Tokens:
    meta = (await _listed_model(root, key)).get("meta") or {}
    return int(meta.get("n_vocab") or 32_000)


async def _listed_model(root: str, key: str | None) -> dict[str, Any]:
    listed = await _json(root + "/v1/models", None, key)
    data = listed.get("data")
    return data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}


async def _json(url: str, body: dict[str, Any] | None, key: str | None) -> dict[str, Any]:
    try:
        async with ClientBuilder().no_proxy().http1_only().timeout(timedelta(seconds=10)).build() as client:
            request = client.get(url) if body is None else client.post(url).body_bytes(msgspec.json.encode(body))
            request = request.header("content-type", "application/json")
            response = await (request if key is None else request.bearer_auth(key)).build().send()
            if response.status != HTTPStatus.OK:
                raise EngineUnavailable(f"{url} answered {response.status}")
            answer = msgspec.json.decode(bytes(await response.bytes()))
    except (RequestError, msgspec.DecodeError) as error:
        raise EngineUnavailable(f"{url} does not answer: {error}", remedy="Check that it runs.") from error
    return answer if isinstance(answer, dict) else {}


def _first_word(text: Any) -> str | None:
    return text.split()[0] if isinstance(text, str) and text.split() else None


def _engine_version() -> str | None:
    try:
        return f"xllamacpp {metadata.version('xllamacpp')}"
    except metadata.PackageNotFoundError:
        return None
