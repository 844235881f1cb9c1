"""``Idempotency-Key`` over HTTP: the cloud is asked, and paid, once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes import cloud
from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway, run_gateway
from tests.gateway.test_budget_race import KEY, document, toml
from tests.gateway.test_kill import gateway_process

from breakeven.cloudsim.invoice import PriceList
from breakeven.cloudsim.serving import Latency

REQUEST: dict[str, Any] = {
    "model": "frontier",
    "messages": [{"role": "user", "content": "[sim:tokens=30] Tell me of the sea."}],
    "max_tokens": 50,
}
CALLERS = {"DESK_KEY": "desk-secret-of-the-house", "LAB_KEY": "lab-secret-of-the-house"}


@pytest.fixture
def sim() -> Iterator[SimulatedCloud]:
    """A cloud slow enough that calls meet."""
    prices = {cloud.GPT: PriceList.simple("1", "10")}
    with cloud.running(prices=prices, latency=Latency(first_token_seconds=0.2)) as running:
        yield running


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def replayed(self) -> bool:
        return self.headers.get("x-breakeven-replayed") == "true"


def post(url: str, key: str | None, caller: str = "DESK_KEY", **changes: Any) -> Answer:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    headers = {"authorization": f"Bearer {CALLERS[caller]}"} | ({"Idempotency-Key": key} if key is not None else {})
    connection.request("POST", "/v1/chat/completions", json.dumps(REQUEST | changes), headers)
    response = connection.getresponse()
    answer = Answer(response.status, dict(response.getheaders()), response.read())
    connection.close()
    return answer


def with_keys(sim: SimulatedCloud, **more: Any) -> dict[str, Any]:
    keys = {"desk": {"secret": "env:DESK_KEY"}, "lab": {"secret": "env:LAB_KEY"}}
    policy = {"default_data": "shareable", "retries": 0}
    return document(sim, keys=keys, **{"policy": policy, "budgets": {}, **more})


@pytest.fixture
def gateway(serve: Callable[..., RunningGateway], sim: SimulatedCloud) -> RunningGateway:
    return serve(with_keys(sim), KEY | CALLERS)


def billed(sim: SimulatedCloud) -> int:
    return sum(total["requests"] for total in sim.invoice()["totals"])


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_key_gets_the_same_bytes_and_the_cloud_is_asked_once(
    gateway: RunningGateway, sim: SimulatedCloud, stream: bool
) -> None:
    first = post(gateway.url, "k", stream=stream)
    again = post(gateway.url, "k", stream=stream)
    assert (first.status, first.replayed, again.status, again.replayed) == (200, False, 200, True)
    assert again.body == first.body
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-breakeven-call-id"] == first.headers["x-breakeven-call-id"]
    assert billed(sim) == 1
    assert len(gateway.calls()) == 1
    assert not post(gateway.url, None, stream=stream).replayed
    assert billed(sim) == 2


def test_many_with_one_key_at_once_join_the_call_in_flight(gateway: RunningGateway, sim: SimulatedCloud) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(gateway.url, "k"), range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert billed(sim) == 1


def test_another_body_under_the_same_key_is_refused(gateway: RunningGateway, sim: SimulatedCloud) -> None:
    post(gateway.url, "k")
    refused = post(gateway.url, "k", max_tokens=40)
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (422, "idempotency_key_reused")
    assert billed(sim) == 1


def test_callers_do_not_share_their_keys(gateway: RunningGateway, sim: SimulatedCloud) -> None:
    assert not post(gateway.url, "k").replayed
    assert not post(gateway.url, "k", caller="LAB_KEY").replayed
    assert billed(sim) == 2


def test_a_call_that_failed_may_be_tried_again(gateway: RunningGateway, sim: SimulatedCloud) -> None:
    sim.order("500")
    assert post(gateway.url, "k").status >= 500
    second = post(gateway.url, "k")
    assert (second.status, second.replayed) == (200, False)


def test_a_caller_who_leaves_finds_the_answer_on_return(gateway: RunningGateway, sim: SimulatedCloud) -> None:
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)
    headers = {"authorization": f"Bearer {CALLERS['DESK_KEY']}", "x-breakeven-idempotency-key": "k"}
    connection.request("POST", "/v1/chat/completions", json.dumps(REQUEST), headers)
    while not sim.seen()["requests"]:
        pass
    connection.close()
    answer = post(gateway.url, "k")
    assert (answer.status, answer.replayed) == (200, True)
    assert billed(sim) == 1


def test_an_answer_outlives_a_restart(sim: SimulatedCloud, tmp_path: Path) -> None:
    with run_gateway(with_keys(sim), tmp_path, KEY | CALLERS) as before:
        first = post(before.url, "k", stream=True)
    with run_gateway(with_keys(sim), tmp_path, KEY | CALLERS) as after:
        again = post(after.url, "k", stream=True)
    assert (again.body, again.replayed) == (first.body, True)
    assert billed(sim) == 1


def test_who_has_the_last_byte_pays_no_second_time_though_the_gateway_is_killed(
    sim: SimulatedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (KEY | CALLERS).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "breakeven.toml"
    file.write_text(toml(with_keys(sim)))
    answers = []
    for stream in (False, True):
        with gateway_process(tmp_path / "home", file) as (process, port):
            answers.append(post(f"http://127.0.0.1:{port}", f"{stream}", stream=stream))
            process.kill()
    with gateway_process(tmp_path / "home", file) as (_, port):
        again = [post(f"http://127.0.0.1:{port}", f"{stream}", stream=stream) for stream in (False, True)]
    assert [answer.body for answer in again] == [answer.body for answer in answers]
    assert [answer.replayed for answer in again] == [True, True]
    assert billed(sim) == 2


@pytest.mark.postgres
def test_two_gateways_on_one_database_pay_once(
    sim: SimulatedCloud, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (KEY | CALLERS).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "breakeven.toml"
    file.write_text(toml(with_keys(sim, ledger={"url": postgres_url})))
    with ExitStack() as stack:
        ports = [stack.enter_context(gateway_process(tmp_path / name, file))[1] for name in "ab"]
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda n: post(f"http://127.0.0.1:{ports[n % 2]}", "k"), range(10)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert billed(sim) == 1


def test_a_request_that_means_nothing_leaves_its_key_free(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {CALLERS['DESK_KEY']}", "Idempotency-Key": "k"}
    for _ in range(2):
        answer = httpx.post(f"{gateway.url}/v1/embeddings", json={"model": "frontier"}, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body")


def test_who_waits_for_the_call_of_another_does_so_until_its_own_deadline(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud, fake: Upstream
) -> None:
    settings = with_keys(sim)
    settings["providers"]["house"] = {"base_url": fake.url}
    settings["models"]["local"] = {"provider": "house", "model": "gated"}
    gateway = serve(settings, KEY | CALLERS)
    headers = {"authorization": f"Bearer {CALLERS['DESK_KEY']}", "Idempotency-Key": "k"}
    request = {"url": f"{gateway.url}/v1/chat/completions", "json": REQUEST | {"model": "local", "stream": True}}
    with httpx.stream("POST", **request, headers=headers, timeout=30) as first:
        words = first.iter_text()
        next(words)
        impatient = httpx.post(**request, headers={**headers, "x-breakeven-deadline-seconds": "0.2"}, timeout=30)
        fake.gate.set()
        assert "[DONE]" in "".join(words)
    assert (impatient.status_code, impatient.json()["error"]["code"]) == (504, "deadline_exceeded")
    again = httpx.post(**request, headers=headers, timeout=30)
    assert again.headers["x-breakeven-replayed"] == "true"
