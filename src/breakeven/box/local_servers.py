"""The model servers that calls go to: those configured as local providers, else what runs on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from breakeven.box.discovery import Found, discover, recognise
from breakeven.config import ProviderSettings, Settings
from breakeven.config.addresses import is_loopback


async def local_servers(settings: Settings) -> Sequence[Found]:
    """Those that answer; of configured ones, each address once."""
    if not settings.providers:
        return await discover()
    roots = {_root(provider) for provider in settings.providers.values() if _is_local(provider)}
    recognised = await asyncio.gather(*(recognise(root) for root in sorted(roots)))
    return [server for server in recognised if server is not None]


def _root(provider: ProviderSettings) -> str:
    split = urlsplit(provider.base_url)
    return f"{split.scheme}://{split.netloc}"


def _is_local(provider: ProviderSettings) -> bool:
    if provider.locality is not None:
        return provider.locality == "local"
    return is_loopback(urlsplit(provider.base_url).hostname or "")
