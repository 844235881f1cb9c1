"""Nothing leaves the machine without a clearance, and a clearance cannot be made by hand."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes import upstream

from breakeven.config import ProviderSettings
from breakeven.errors import DataStays
from breakeven.privacy.clearance import Clearance
from breakeven.providers.base import ProviderRequest
from breakeven.providers.http import HttpProvider
from breakeven.routing.egress import clearance


def test_local_only_data_gets_no_clearance() -> None:
    with pytest.raises(DataStays, match="local_only"):
        clearance("call_1", "local_only", "remote")


def test_what_stays_needs_none() -> None:
    assert clearance("call_1", "local_only", "local") is None
    assert clearance("call_1", "shareable", "remote") is not None


def test_a_clearance_cannot_be_made_by_hand() -> None:
    with pytest.raises(DataStays, match="did not give"):
        Clearance("call_1", object())


def test_a_remote_provider_sends_nothing_without_clearance() -> None:
    async def send(url: str) -> None:
        timeouts = ProviderSettings(base_url=url)
        provider = HttpProvider("cloud", base_url=lambda: url, locality="remote", timeouts=timeouts)
        async with provider.send(ProviderRequest("/chat/completions", b"{}")):
            pass

    with upstream.running() as fake:
        with pytest.raises(DataStays, match="cloud is outside this machine"):
            asyncio.run(send(fake.url))
        assert fake.seen.bodies == []
