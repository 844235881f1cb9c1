"""The pools of the configuration, kept over a reload as long as nothing about them or their members changes."""

from __future__ import annotations

from collections.abc import Mapping

from breakeven.box.pool_provider import PoolProvider
from breakeven.box.server_backend import ServerBackend
from breakeven.config import ProviderSettings
from breakeven.config.providers import PoolSettings
from breakeven.config.secrets import read_secret
from breakeven.errors import ConfigError
from breakeven.providers.base import Provider


class Pools:
    """Pools by name.

    Args:
        environment: where the members' keys are looked up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._open: dict[str, tuple[PoolSettings, tuple[Provider, ...], PoolProvider]] = {}
        self._retired: list[PoolProvider] = []

    def configure(
        self,
        wanted: Mapping[str, PoolSettings],
        settings: Mapping[str, ProviderSettings],
        providers: Mapping[str, Provider],
    ) -> dict[str, Provider]:
        """The pools of a configuration; `retire` then lets go of those that are gone or changed.

        Raises:
            ConfigError: a member is not on the owner's machines.
        """
        configured = {}
        for name, pool in wanted.items():
            members = tuple(providers[member] for member in pool.members)
            for member in members:
                if member.locality != "local":
                    raise ConfigError(
                        f"pools.{name}.members.{member.name}",
                        member.locality,
                        'a server of your own: say locality = "local" at the provider if it is one',
                    )
            known = self._open.get(name)
            unchanged = known is not None and known[:2] == (pool, members)
            configured[name] = (
                known if known is not None and unchanged else (pool, members, self._pool(name, pool, settings, members))
            )
        kept = {id(pool) for *_, pool in configured.values()}
        self._retired += [pool for *_, pool in self._open.values() if id(pool) not in kept]
        self._open = configured
        return {name: pool for name, (*_, pool) in configured.items()}

    async def retire(self) -> None:
        """Let go of pools that the last configuration dropped or changed."""
        retired, self._retired = self._retired, []
        for pool in retired:
            await pool.retire()

    async def close(self) -> None:
        """Leave all queues."""
        for *_, pool in self._open.values():
            await pool.close()

    def _pool(
        self, name: str, pool: PoolSettings, settings: Mapping[str, ProviderSettings], members: tuple[Provider, ...]
    ) -> PoolProvider:
        backends = []
        for member in members:
            chosen, provider = pool.members[member.name], settings[member.name]
            references = provider.key_references
            key = None
            if references:
                key = read_secret(f"providers.{member.name}.key", references[0], self._environment)
            backends.append(ServerBackend(member, provider.base_url, model=chosen.model, slots=chosen.slots, key=key))
        return PoolProvider(name, backends, wait_seconds=pool.wait_seconds)
