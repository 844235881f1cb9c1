"""What of a configuration runs on one's own machines: models of an Ollama to be kept loaded, and servers right here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from breakeven.box.discovery import PORTS, Found
from breakeven.box.dispatcher import Dispatcher
from breakeven.box.engine_provider import EngineProvider
from breakeven.box.keeper import Resident
from breakeven.box.pool_provider import PoolProvider
from breakeven.config import ProviderSettings, Settings
from breakeven.config.addresses import is_loopback
from breakeven.config.secrets import read_secret
from breakeven.gateway.routes import DEFAULT_MODEL
from breakeven.providers.base import Provider
from breakeven.routing.table import RoutingTable


def models_to_keep(
    settings: Settings, found: tuple[Found, ...], table: RoutingTable, environment: Mapping[str, str]
) -> frozenset[Resident]:
    """Of configured providers all their models; of an Ollama that was found here the default model.

    Raises:
        InputError: a secret is missing.
    """
    kept = set()
    for provider, model in _configured(settings):
        server = settings.providers.get(provider)
        if server is not None and _is_own_ollama(server):
            key = None
            if server.key_references:
                key = read_secret(f"providers.{provider}.key", server.key_references[0], environment)
            kept.add(Resident(_root(server.base_url), model, key))
    default = table.names.get(DEFAULT_MODEL)
    for server_found in found:
        if server_found.kind == "ollama" and default is not None and default.provider.name == "ollama":
            kept.add(Resident(_root(server_found.base_url), default.model))
    return frozenset(kept)


def boxes_here(
    settings: Settings, providers: Mapping[str, Provider], found: tuple[Found, ...]
) -> tuple[frozenset[str], Mapping[str, Dispatcher]]:
    """Providers that run on this machine, pools with all their members; and of those the queues that are ours."""
    servers = {name: urlsplit(server.base_url).hostname for name, server in settings.providers.items()}
    here = {name for name, host in servers.items() if host is not None and is_loopback(host)}
    here |= {name for name, pool in settings.pools.items() if here.issuperset(pool.members)}
    here |= {server.kind for server in found}
    queues = {}
    for name, provider in providers.items():
        if isinstance(provider, EngineProvider):
            here.add(name)
        if isinstance(provider, EngineProvider | PoolProvider) and name in here:
            queues[name] = provider.dispatcher
    return frozenset(here), queues


def _configured(settings: Settings) -> Iterator[tuple[str, str]]:
    """Providers and the models they serve, those of pools at each of their members."""
    for model in settings.models.values():
        pool = settings.pools.get(model.provider)
        if pool is None:
            yield model.provider, model.model
            continue
        for name, member in pool.members.items():
            yield name, member.model or model.model


def _is_own_ollama(server: ProviderSettings) -> bool:
    if server.any_llm is not None or server.effective_locality != "local":
        return False
    return server.profile == "ollama" or urlsplit(server.base_url).port == PORTS["ollama"]


def _root(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/v1")
