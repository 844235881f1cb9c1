"""What the user already runs: model servers on their usual ports of this machine.

Each is recognised by an interface that only it has, so that another program on the same port is never mistaken for
one: Ollama by ``/api/version`` and ``/api/tags``, LM Studio by ``/api/v0/models``, llama-server by ``/props``,
vLLM by ``/version`` and models it says it owns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.units import Seconds

Kind: TypeAlias = Literal["ollama", "lmstudio", "llama-server", "vllm"]

PORTS: Mapping[Kind, int] = MappingProxyType({"ollama": 11434, "lmstudio": 1234, "llama-server": 8080, "vllm": 8000})
TIMEOUT: Seconds = 1.0
MAX_BODY_BYTES = 4_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that a server offers.

    Attributes:
        context: tokens of context it is served with; ``None`` when the server does not say.
        loaded: whether it is in memory now; ``None`` when the server does not say.
        embeddings: whether it embeds texts instead of writing them; ``None`` when the server does not say.
    """

    id: str
    context: int | None = None
    loaded: bool | None = None
    embeddings: bool | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A model server on this machine.

    Attributes:
        base_url: root of its OpenAI-compatible interface, ``/v1`` included.
        version: as it states it.
        slots: calls it serves at once; ``None`` when it does not say.
    """

    kind: Kind
    base_url: str
    version: str | None
    models: tuple[FoundModel, ...]
    slots: int | None = None


async def discover(ports: Mapping[Kind, int] = PORTS, timeout: Seconds = TIMEOUT) -> tuple[Found, ...]:  # noqa: ASYNC109
    """Ask all ports at once; what does not answer in time, or answers like nothing known, is left out."""
    limit = timedelta(seconds=timeout)
    async with ClientBuilder().no_proxy().http1_only().follow_redirects(False).timeout(limit).build() as client:
        probes = (_probe(_Server(client, f"http://127.0.0.1:{port}"), kind) for kind, port in ports.items())
        found = await asyncio.gather(*probes)
    return tuple(server for server in found if server is not None)


async def recognise(root: str, key: str | None = None, timeout: Seconds = 5 * TIMEOUT) -> Found | None:  # noqa: ASYNC109
    """What serves models at this address, ``http://HOST:PORT``; ``None`` when it is nothing known."""
    limit = timedelta(seconds=timeout)
    async with ClientBuilder().no_proxy().http1_only().follow_redirects(False).timeout(limit).build() as client:
        found = await asyncio.gather(*(_probe(_Server(client, root, key), kind) for kind in PORTS))
    return next((server for server in found if server is not None), None)


class _Unlike(Exception):
    """What answers is not the server looked for."""


class _Server:
    """A root address and a typed GET."""

    def __init__(self, client: Client, root: str, key: str | None = None) -> None:
        self.root = root
        self._client, self._key = client, key

    async def get(self, path: str, kind: type[T]) -> T:
        try:
            request = self._client.get(self.root + path)
            response = await (request if self._key is None else request.bearer_auth(self._key)).build().send()
            body = bytes(await response.bytes())
            if response.status != HTTPStatus.OK or len(body) > MAX_BODY_BYTES:
                raise _Unlike(path)
            return msgspec.json.decode(body, type=kind)
        except (RequestError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _Unlike(path) from error


async def _probe(server: _Server, kind: Kind) -> Found | None:
    try:
        version, models, *slots = await _RECOGNISE[kind](server)
    except _Unlike:
        return None
    return Found(kind, f"{server.root}/v1", version, tuple(models), *slots)


class _Version(msgspec.Struct):
    version: str


class _OllamaModel(msgspec.Struct):
    name: str
    context_length: int | None = None
    capabilities: list[str] | None = None


class _OllamaModels(msgspec.Struct):
    models: list[_OllamaModel]


async def _ollama(server: _Server) -> tuple[str | None, list[FoundModel]]:
    stated = await server.get("/api/version", _Version)
    pulled = await server.get("/api/tags", _OllamaModels)
    running = {model.name: model for model in (await server.get("/api/ps", _OllamaModels)).models}
    return stated.version, [
        FoundModel(
            model.name,
            context=running[model.name].context_length if model.name in running else None,
            loaded=model.name in running,
            embeddings=None if model.capabilities is None else "embedding" in model.capabilities,
        )
        for model in pulled.models
    ]


class _StudioModel(msgspec.Struct):
    id: str
    type: str
    state: str
    max_context_length: int | None = None
    loaded_context_length: int | None = None


class _StudioModels(msgspec.Struct):
    data: list[_StudioModel]


async def _lmstudio(server: _Server) -> tuple[str | None, list[FoundModel]]:
    offered = await server.get("/api/v0/models", _StudioModels)
    return None, [
        FoundModel(
            model.id,
            context=model.loaded_context_length or model.max_context_length,
            loaded=model.state == "loaded",
            embeddings=model.type == "embeddings",
        )
        for model in offered.data
    ]


class _Generation(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    default_generation_settings: _Generation
    total_slots: int
    build_info: str | None = None


class _ListedModel(msgspec.Struct):
    id: str
    owned_by: str
    max_model_len: int | None = None


class _ListedModels(msgspec.Struct):
    data: list[_ListedModel]


async def _llama_server(server: _Server) -> tuple[str | None, list[FoundModel], int]:
    props = await server.get("/props", _Props)
    listed = await server.get("/v1/models", _ListedModels)
    if any(model.owned_by != "llamacpp" for model in listed.data):
        raise _Unlike("/v1/models")
    context = props.default_generation_settings.n_ctx
    models = [FoundModel(model.id, context=context or None, loaded=True) for model in listed.data]
    return props.build_info, models, props.total_slots


async def _vllm(server: _Server) -> tuple[str | None, list[FoundModel]]:
    stated = await server.get("/version", _Version)
    listed = await server.get("/v1/models", _ListedModels)
    if not listed.data or any(model.owned_by != "vllm" for model in listed.data):
        raise _Unlike("/v1/models")
    return stated.version, [FoundModel(model.id, context=model.max_model_len, loaded=True) for model in listed.data]


_Stated: TypeAlias = tuple[str | None, list[FoundModel]] | tuple[str | None, list[FoundModel], int]
_RECOGNISE: Mapping[Kind, Callable[[_Server], Awaitable[_Stated]]] = MappingProxyType(
    {"ollama": _ollama, "lmstudio": _lmstudio, "llama-server": _llama_server, "vllm": _vllm}
)
