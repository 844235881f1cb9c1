"""Which models the keeper looks after: those that are configured, or the default one, where an Ollama serves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from breakeven.box.discovery import PORTS, Found
from breakeven.box.keeper import Resident
from breakeven.config import ProviderSettings, Settings
from breakeven.config.secrets import read_secret
from breakeven.gateway.routes import DEFAULT_MODEL
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
