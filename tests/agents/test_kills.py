"""Workers are killed at random moments; nothing is lost, nothing is written twice and nothing is paid twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agents.killed import CALLS_AN_ITEM, Fleet, Slaughter, doubled_and_lost
from tests.fakes import cloud
from tests.fakes.cloud import MINI, SimulatedCloud
from tests.gateway.conftest import RunningGateway, run_gateway

ITEMS, KILLS = 600, 30
CONTROL_ITEMS, CONTROL_KILLS = 240, 20


@contextmanager
def desk(home: Path) -> Iterator[tuple[SimulatedCloud, RunningGateway]]:
    """A cloud that keeps its own books, behind a gateway."""
    with cloud.running() as sky:
        document = {
            "policy": {"default_data": "shareable"},
            "providers": {"sky": {"base_url": f"{sky.url}/v1", "locality": "remote", "key": "env:SKY_KEY"}},
            "models": {"sky": {"provider": "sky", "model": MINI}},
        }
        with run_gateway(document, home, {"SKY_KEY": "sk-sim"}) as gateway:
            yield sky, gateway


def paid(sky: SimulatedCloud) -> int:
    return sum(total["requests"] for total in sky.invoice()["totals"])


@pytest.mark.slow
def test_thirty_kills_lose_nothing_double_nothing_and_cost_nothing(tmp_path: Path) -> None:
    with desk(tmp_path / "gateway") as (sky, gateway):
        fleet = Fleet(tmp_path, None, f"{gateway.url}/v1", "exact")
        slaughter = Slaughter(fleet, 1, random.Random(1))
        engine = slaughter.prepare(ITEMS)
        slaughter.run(engine, ITEMS, KILLS)
        assert slaughter.kills == KILLS
        assert doubled_and_lost(engine, ITEMS) == (0, 0)
        assert paid(sky) == ITEMS * CALLS_AN_ITEM
        engine.dispose()


@pytest.mark.slow
def test_plain_steps_under_the_same_kills_do_double(tmp_path: Path) -> None:
    with desk(tmp_path / "gateway") as (sky, gateway):
        fleet = Fleet(tmp_path, None, f"{gateway.url}/v1", "control")
        slaughter = Slaughter(fleet, 1, random.Random(1))
        engine = slaughter.prepare(CONTROL_ITEMS)
        slaughter.run(engine, CONTROL_ITEMS, CONTROL_KILLS)
        doubled, lost = doubled_and_lost(engine, CONTROL_ITEMS)
        assert lost == 0
        assert doubled > 0
        assert paid(sky) > CONTROL_ITEMS * CALLS_AN_ITEM
        engine.dispose()
