"""A fault of the gateway's own, or its end, loses no attempt that may be billed and leaves no client without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway, booked_calls, remote, run_gateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO
from tests.gateway.test_heartbeat import open_stream, read_until

from breakeven.accounts.accounts import Accounts
from breakeven.gateway.server import GatewayServer

Serve = Callable[..., RunningGateway]


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def ask(gateway: RunningGateway, model: str, *, stream: bool = False) -> httpx.Response:
    body = {"model": model, "messages": HELLO, "stream": stream, "max_tokens": 50}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=30)


@pytest.mark.parametrize(
    "fault", ["breakeven.wire.dialects.whole_answer", "breakeven.gateway.generation.gates.verdict"]
)
def test_an_answer_that_we_fail_to_hand_over_is_paid_for_all_the_same(
    serve: Serve, sky: SimulatedCloud, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    document = desk(sky, tasks={"tag": {"models": ["gpt"]}}, budgets={"all": {"usd": "5", "per": "total"}})
    gateway = serve(document, KEYS)
    monkeypatch.setattr(fault, broken)
    assert ask(gateway, "task:tag").status_code == 500
    (attempt,) = gateway.calls()[0].attempts
    assert (attempt.error, attempt.counted_by) == ("gateway_fault", "provider")
    assert attempt.cost
    (budget,) = httpx.get(f"{gateway.url}/admin").json()["budgets"]
    assert float(budget["reserved_usd"]) == 0
    assert float(budget["spent_usd"]) == float(attempt.cost)


def test_a_fault_in_mid_stream_ends_it_with_an_error_event(
    serve: Serve, sky: SimulatedCloud, fake: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = serve(desk(sky, fake, local="gated"), KEYS)
    with open_stream(gateway, "local") as connection:
        seen = read_until(connection, b"one ")
        monkeypatch.setattr("breakeven.wire.reader.StreamReader.take_all", broken)
        fake.gate.set()
        seen = read_until(connection, b'"error"', seen)
    assert b"fault" in seen
    assert gateway.calls()[0].attempts[0].error == "gateway_fault"


@pytest.mark.parametrize("forced", [False, True])
def test_calls_in_flight_at_the_end_are_booked(
    tmp_path: Path, fake: Upstream, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    settle = Accounts.settle

    async def slow(self: Accounts, *arguments: object) -> None:
        await asyncio.to_thread(time.sleep, 0.5)  # a database that takes its time
        await settle(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Accounts, "settle", slow)
    if forced:

        async def at_once(_: object) -> None:
            """As uvicorn waits after a second signal."""

        monkeypatch.setattr(GatewayServer, "_wait_tasks_to_complete", at_once)
    with run_gateway(remote(fake), tmp_path) as gateway:
        connection = open_stream(gateway, "gated")
        read_until(connection, b"one ")
    connection.close()
    (call,) = booked_calls(tmp_path)
    assert call.outcome == "client_left"
    assert call.attempts[0].tokens is not None


@pytest.mark.parametrize("door", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_place_of_an_answer_costs_nothing_and_the_next_one_is_asked(
    serve: Serve, sky: SimulatedCloud, door: str, stream: bool
) -> None:
    first, second = ("claude", "gpt") if door == "messages" else ("gpt", "claude")
    gateway = serve(desk(sky, tasks={"tag": {"models": [first, second]}}), KEYS)
    sky.order("error-event:0", None)
    asked = {"input": "hello"} if door == "responses" else {"messages": HELLO, "max_tokens": 50}
    body = {"model": "task:tag", "stream": stream, **asked}
    answer = httpx.post(f"{gateway.url}/v1/{door}", json=body, timeout=30)
    assert (answer.status_code, "server had an error" in answer.text) == (200, False)
    assert answer.headers["x-breakeven-served-by"].startswith(f"{second}/")
    failed, completed = gateway.calls()[0].attempts
    assert (failed.provider, failed.outcome, failed.tokens, failed.cost) == (first, "failed", None, 0)
    assert (completed.provider, completed.outcome) == (second, "completed")
