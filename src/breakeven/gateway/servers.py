"""The servers that calls are sent to, kept over a reload as long as nothing about them changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from breakeven.box.discovery import Found
from breakeven.config import ProviderSettings
from breakeven.config.secrets import read_secret
from breakeven.ledger.records import Locality
from breakeven.providers.any_llm import AnyLlmProvider
from breakeven.providers.base import Provider
from breakeven.providers.http import HttpProvider
from breakeven.providers.keyring import Key, KeyRing
from breakeven.wire.request import Dialect

Server: TypeAlias = HttpProvider | AnyLlmProvider


class Servers:
    """Servers of the configuration and those found running here.

    Args:
        environment: where secrets are looked up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._configured: dict[str, tuple[ProviderSettings, Server]] = {}
        self._found: dict[str, HttpProvider] = {}
        self._key_cooldown = 0.0
        self._retired: list[Server] = []

    def discovered(self, found: tuple[Found, ...]) -> None:
        """Take in the servers that were found running here."""
        for server in found:
            timeouts = ProviderSettings(base_url=server.base_url)
            self._found[server.kind] = _server(server.kind, timeouts, "local", KeyRing(server.kind))

    def configure(self, settings: Mapping[str, ProviderSettings], key_cooldown: float) -> dict[str, Provider]:
        """The servers of a configuration by name; `retire` then lets go of those that are gone or changed.

        Args:
            key_cooldown: seconds for which a key that was limited or refused rests.

        Raises:
            InputError: a secret is missing; then nothing has changed.
        """
        self._key_cooldown = key_cooldown
        configured = {}
        for name, wanted in settings.items():
            known = self._configured.get(name)
            unchanged = known is not None and known[0] == wanted
            configured[name] = known if known is not None and unchanged else (wanted, self._open(name, wanted))
        kept = {server for _, server in configured.values()}
        self._retired += [server for _, server in self._configured.values() if server not in kept]
        self._configured = configured
        return {**self._found, **{name: server for name, (_, server) in configured.items()}}

    async def retire(self) -> None:
        """Let go of servers that the last configuration dropped or changed."""
        retired, self._retired = self._retired, []
        for server in retired:
            await server.retire()

    async def close(self) -> None:
        """Close all connections."""
        for server in (*self._found.values(), *(server for _, server in self._configured.values())):
            await server.close()

    def _open(self, name: str, settings: ProviderSettings) -> Server:
        setting, references = f"providers.{name}.key", settings.key_references
        keys = [Key(reference, read_secret(setting, reference, self._environment)) for reference in references]
        if settings.any_llm is not None:
            return AnyLlmProvider(
                name,
                settings.any_llm,
                locality=settings.effective_locality,
                catalog=settings.catalog,
                key=keys[0] if keys else None,
                base_url=settings.base_url or None,
            )
        return _server(name, settings, settings.effective_locality, KeyRing(name, keys, self._key_cooldown))


def _server(name: str, settings: ProviderSettings, locality: Locality, keys: KeyRing) -> HttpProvider:
    dialects: tuple[Dialect, ...] = (settings.dialect,)
    if settings.responses:
        dialects += ("responses",)
    url = settings.base_url.rstrip("/")
    return HttpProvider(
        name,
        base_url=lambda: url,
        locality=locality,
        timeouts=settings,
        catalog=settings.catalog,
        keys=keys,
        dialects=dialects,
    )
