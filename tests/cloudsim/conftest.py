"""A simulated cloud and the official clients that talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from tests.fakes import cloud
from tests.fakes.cloud import SimulatedCloud


@pytest.fixture
def sim() -> Iterator[SimulatedCloud]:
    with cloud.running() as running:
        yield running


@pytest.fixture
def openai_client(sim: SimulatedCloud) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="sk-a", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(sim: SimulatedCloud) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=sim.url, api_key="sk-ant-a", max_retries=0) as client:
        yield client
