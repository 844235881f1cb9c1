"""Data that stays: whatever goes wrong at home, a `local_only` call reaches no cloud. The cloud itself counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import cloud, traffic
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, MINI, SimulatedCloud
from tests.fakes.traffic import Got, Wish
from tests.gateway.conftest import RunningGateway, run_gateway

from breakeven.cloudsim.faults import KINDS

FAULTS = [
    "429", "429:1", "500", "503", "529", "slow:0.5", "stall:2", "cut:0", "cut:3", "error-event:2", "malformed:2",
    "truncated", "no-usage", "content-type", "refuse:0.05",
]  # fmt: skip
TROUBLES = [*FAULTS, "none", "gated", "unknown-model"]
SECRETS = {"LOCAL": "bk-local-local-local", "FREE": "bk-free-free-free-free"}
WAYS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "header": ({"x-breakeven-data": "local_only"}, {}),
    "metadata": ({}, {"data": "local_only"}),
    "key": ({"authorization": "Bearer bk-local-local-local"}, {}),
    "both": ({"authorization": "Bearer bk-local-local-local", "x-breakeven-data": "shareable"}, {}),
}
"""How a call says that its data stays: headers and metadata. With `both` its key forbids what the call allows."""


@dataclass
class Setup:
    gateway: RunningGateway
    outside: SimulatedCloud
    home: Path


@contextmanager
def setup(home: Path, **policy: Any) -> Iterator[Setup]:
    """A house with every trouble there is, two clouds to turn to, and a task for each trouble that would do so."""
    with cloud.running() as house, cloud.running() as outside:
        remote = {"base_url": f"{outside.url}/v1", "locality": "remote", "key": "env:LOCAL"}
        troubled = {
            trouble: MINI
            if trouble in ("none", "gated")
            else "nobody"
            if trouble == "unknown-model"
            else f"{MINI}+{trouble}"
            for trouble in TROUBLES
        }
        document = {
            "policy": {"default_data": "shareable", "retries": 1, "backoff_seconds": 0.001, **policy},
            "keys": {
                "stays": {"secret": "env:LOCAL", "data": "local_only"},
                "free": {"secret": "env:FREE"},
            },
            "providers": {
                "house": {
                    "base_url": f"{house.url}/v1", "locality": "local", "key": "env:LOCAL", "responses": True,
                    "first_byte_seconds": 0.3, "stall_seconds": 0.2,
                },
                "openai": {**remote, "responses": True},
                "anthropic": {**remote, "dialect": "anthropic"},
            },
            "models": {
                **{f"house {name}": {"provider": "house", "model": model} for name, model in troubled.items()},
                **{
                    f"embed {name}": {"provider": "house", "model": model.replace(MINI, EMBEDDER)}
                    for name, model in troubled.items()
                },
                "gpt": {"provider": "openai", "model": GPT},
                "claude": {"provider": "anthropic", "model": CLAUDE},
                "embed outside": {"provider": "openai", "model": EMBEDDER},
            },
            "tasks": {
                **{
                    f"text {name}": {
                        "models": [f"house {name}", "gpt", "claude"],
                        "gates": {"rejects": ["."]} if name == "gated" else {},
                        "cache_seconds": 60,
                    }
                    for name in TROUBLES
                },
                **{f"embed {name}": {"models": [f"embed {name}", "embed outside"]} for name in TROUBLES},
                "stays": {"models": ["house 500", "gpt"], "data": "local_only"},
            },
        }  # fmt: skip
        with run_gateway(document, home, SECRETS) as gateway:
            yield Setup(gateway, outside, home)


def wishes(trouble: str, headers: dict[str, str], metadata: dict[str, str], name: str) -> Iterator[Wish]:
    """The same call at every endpoint, plain and streamed."""
    headers = {"authorization": "Bearer bk-free-free-free-free", **headers}
    more = {"metadata": metadata} if metadata else {}
    turns = [{"role": "user", "content": f"{name}: sum up the year."}]
    for stream in (False, True):
        task = {"model": f"task:text {trouble}", "stream": stream, **more}
        yield Wish("/v1/chat/completions", {**task, "messages": turns}, headers)
        yield Wish("/v1/responses", {**task, "input": name}, headers)
        yield Wish("/v1/messages", {**task, "messages": turns, "max_tokens": 50}, headers)
    yield Wish("/v1/messages/count_tokens", {**more, "model": f"task:text {trouble}", "messages": turns}, headers)
    yield Wish("/v1/embeddings", {**more, "model": f"task:embed {trouble}", "input": name}, headers)
    yield Wish("/admin/explain", {**more, "model": f"task:text {trouble}", "messages": turns}, headers)


def send(gateway: RunningGateway, calls: list[Wish]) -> list[Got]:
    once = [Wish(w.path, w.document, {**w.headers, "idempotency-key": f"k-{n}"}) for n, w in enumerate(calls)]
    return asyncio.run(traffic.send_all(gateway.url, once, concurrency=16))


def test_no_fault_at_home_sends_local_data_outside(tmp_path: Path) -> None:
    calls = [
        wish
        for trouble in TROUBLES
        for way, (headers, metadata) in WAYS.items()
        for wish in wishes(trouble, headers, metadata, f"{trouble} {way}")
    ]
    with setup(tmp_path) as here:
        answers = send(here.gateway, calls)
        assert here.outside.seen()["requests"] == 0
        booked = here.gateway.calls()
    assert len(answers) == len(calls)
    assert all(got.status >= 200 for got in answers)
    assert {attempt.locality for call in booked for attempt in call.attempts} == {"local"}
    assert {fault.split(":")[0] for fault in FAULTS} == set(KINDS)


def test_the_same_faults_do_send_shareable_data_outside(tmp_path: Path) -> None:
    """Without this the test above could not fail."""
    calls = [wish for trouble in TROUBLES for wish in wishes(trouble, {}, {}, trouble)]
    with setup(tmp_path) as here:
        send(here.gateway, calls)
        paths = {kind["path"] for kind in here.outside.seen()["by_kind"]}
    assert paths >= {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"}


@pytest.mark.parametrize("model", ["gpt", "claude", "task:stays", "house 500"])
def test_asking_for_a_cloud_by_name_is_refused_and_not_sent(tmp_path: Path, model: str) -> None:
    turns = [{"role": "user", "content": "Sum up the year."}]
    headers = {"authorization": f"Bearer {SECRETS['FREE']}"}
    if model != "task:stays":
        headers["x-breakeven-data"] = "local_only"
    with setup(tmp_path) as here:
        (got,) = send(here.gateway, [Wish("/v1/chat/completions", {"model": model, "messages": turns}, headers)])
        assert here.outside.seen()["requests"] == 0
    assert got.status == (403 if model in ("gpt", "claude") else 502)


def test_unlabelled_data_stays_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    calls = [wish for trouble in ("500", "cut:3", "gated") for wish in wishes(trouble, {}, {}, trouble)]
    with setup(tmp_path, default_data="local_only") as here:
        send(here.gateway, calls)
        assert here.outside.seen()["requests"] == 0


def test_data_stays_when_the_house_is_down_for_long_and_its_breaker_is_open(tmp_path: Path) -> None:
    headers, metadata = WAYS["header"]
    calls = [wish for n in range(12) for wish in wishes("500", headers, metadata, str(n))]
    with setup(tmp_path, breaker_failures=2) as here:
        send(here.gateway, calls)
        assert here.outside.seen()["requests"] == 0
