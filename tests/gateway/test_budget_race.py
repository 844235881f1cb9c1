"""Two hundred calls at once against one dollar: the cloud's own invoice says what was spent."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa
from tests.fakes import cloud
from tests.fakes.cloud import GPT, SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway, run_gateway
from tests.gateway.test_kill import gateway_process

from breakeven.cloudsim.invoice import PriceList

CALLS = 200
ANSWERED = (200, None, None)
SPENT = (402, "budget_exhausted", None)
"""The budget has no period after which to try again."""
HELD = (429, "budget_exhausted", "1")
KEY = {"SIM_KEY": "sk-a"}
BOUND = Decimal("0.06")
"""More than any of these calls can cost: 20 tokens at $1,000; at $10 a prompt of 150 bytes, and the allowance."""
ASKED: dict[str, Any] = {
    "model": "frontier",
    "messages": [{"role": "user", "content": "[sim:tokens=20] Name a colour."}],
    "max_tokens": 20,
}


@pytest.fixture
def sim() -> Iterator[SimulatedCloud]:
    """A cloud dear enough that a dollar is soon spent: some $0.02 a call."""
    with cloud.running(prices={GPT: PriceList.simple("10", "1000")}) as running:
        yield running


def document(sim: SimulatedCloud, **more: Any) -> dict[str, Any]:
    return {
        "policy": {"default_data": "shareable"},
        "providers": {
            "cloud": {"base_url": f"{sim.url}/v1", "locality": "remote", "key": "env:SIM_KEY", "catalog": "sim"}
        },
        "models": {"frontier": {"provider": "cloud", "model": GPT}},
        "prices": {
            f"sim/{GPT}": {
                "input": "10", "output": "1000", "cache_read": "1", "cache_write_5m": "12.5", "cache_write_1h": "20",
                "source": "the simulated cloud", "effective": "2026-01-01",
            }
        },
        "budgets": {"dollar": {"usd": "1.00", "per": "total"}},
        **more,
    }  # fmt: skip


def invoiced(sim: SimulatedCloud) -> Decimal:
    return Decimal(sim.invoice()["micro_usd"]) / 1_000_000


def race(urls: list[str], calls: int = CALLS) -> Counter[tuple[int, str | None, str | None]]:
    """This many calls at each gateway, all at once: status, code of the error and ``Retry-After`` of each."""

    async def call(client: openai.AsyncOpenAI, number: int) -> tuple[int, str | None, str | None]:
        try:
            answer = await client.chat.completions.create(**ASKED, stream=number % 2 == 0)
            if isinstance(answer, openai.AsyncStream):
                async for _ in answer:
                    pass
        except openai.APIStatusError as error:
            return error.status_code, error.code, error.response.headers.get("retry-after")
        return ANSWERED

    async def main() -> Counter[tuple[int, str | None, str | None]]:
        async with asyncio.TaskGroup() as group:
            how: dict[str, Any] = {"api_key": "none", "max_retries": 0, "timeout": 120}
            clients = [openai.AsyncOpenAI(base_url=f"{url}/v1", **how) for url in urls]
            ended = [group.create_task(call(client, n)) for client in clients for n in range(calls)]
        for client in clients:
            await client.close()
        return Counter(task.result() for task in ended)

    return asyncio.run(main())


def spend_the_rest(url: str) -> None:
    """Call until nothing more fits."""
    while ANSWERED in (ended := race([url], calls=1)):
        pass
    assert ended == {SPENT: 1}


def test_two_hundred_calls_at_once_spend_at_most_a_dollar(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud
) -> None:
    gateway = serve(document(sim), KEY)
    ended = race([gateway.url])
    assert sum(ended.values()) == CALLS
    assert set(ended) <= {ANSWERED, SPENT, HELD}
    spend_the_rest(gateway.url)
    assert 1 - BOUND < invoiced(sim) <= 1
    booked = [attempt.money.billed for call in gateway.calls() for attempt in call.attempts]
    assert sum(amount for amount in booked if amount is not None) == invoiced(sim)


def test_a_restarted_gateway_knows_what_was_spent(sim: SimulatedCloud, tmp_path: Path) -> None:
    with run_gateway(document(sim), tmp_path, KEY) as before:
        spend_the_rest(before.url)
    spent = invoiced(sim)
    with run_gateway(document(sim), tmp_path, KEY) as after:
        assert race([after.url], calls=3) == {SPENT: 3}
    assert invoiced(sim) == spent


def test_a_spent_budget_that_says_local_is_served_by_the_house(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud
) -> None:
    settings = document(sim, budgets={"dollar": {"usd": "0.00", "on_exhausted": "local"}})
    settings["providers"]["house"] = {"base_url": f"{sim.url}/v1", "key": "env:SIM_KEY"}
    settings["models"]["local"] = {"provider": "house", "model": GPT}
    gateway = serve(settings, KEY)
    answer = gateway.client().chat.completions.with_raw_response.create(**ASKED)
    assert answer.headers["x-breakeven-served-by"] == f"house/{GPT}"
    assert "budget" in answer.headers["x-breakeven-reason"]


def test_no_key_passes_by_a_budget_that_covers_everyone(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud, tmp_path: Path
) -> None:
    settings = document(sim, keys={"desk": {"secret": "env:DESK_KEY"}}, budgets={"dollar": {"usd": "0.00"}})
    made = subprocess.run(
        [sys.executable, "-m", "breakeven", "keys", "create", "lab", "--json"],
        env=os.environ | {"BREAKEVEN_HOME": str(tmp_path)}, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    gateway = serve(settings, KEY | {"DESK_KEY": "desk-secret-of-the-house"})
    for secret in ("desk-secret-of-the-house", json.loads(made.stdout)["secret"]):
        with pytest.raises(openai.APIStatusError) as refused:
            gateway.client(secret).chat.completions.create(**ASKED)
        assert refused.value.status_code == 402
    assert sim.seen()["requests"] == 0


def test_a_call_that_the_house_takes_over_keeps_its_deadline(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud, fake: Upstream
) -> None:
    settings = document(sim, budgets={"dollar": {"usd": "0.00", "on_exhausted": "local"}})
    settings["providers"]["house"] = {"base_url": fake.url}
    settings["models"]["local"] = {"provider": "house", "model": "gated"}
    settings["tasks"] = {"tag": {"models": ["frontier"], "deadline_seconds": 1.0}}
    gateway = serve(settings, KEY)
    with pytest.raises(openai.InternalServerError) as late:
        gateway.client().chat.completions.create(**{**ASKED, "model": "task:tag"})
    assert late.value.status_code == 504
    assert [(attempt.provider, attempt.error) for attempt in gateway.calls()[0].attempts] == [
        ("house", "deadline_exceeded")
    ]


@pytest.mark.parametrize(("tpm", "limit", "passes"), [(3000, 1900, True), (1000, 400, False)])
def test_a_key_is_held_to_the_tokens_it_used_not_to_those_it_might_have(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud, fake: Upstream, tpm: int, limit: int, passes: bool
) -> None:
    """The house counts 1,040 tokens for a call that was expected to take some more than its limit of output."""
    settings = document(sim, keys={"desk": {"secret": "env:DESK_KEY", "tpm": tpm}})
    settings["providers"]["house"] = {"base_url": fake.url}
    settings["models"]["local"] = {"provider": "house", "model": "ok"}
    gateway = serve(settings, KEY | {"DESK_KEY": "desk-secret-of-the-house"})
    ask = {"model": "local", "messages": ASKED["messages"], "max_tokens": limit}
    headers = {"authorization": "Bearer desk-secret-of-the-house"}
    statuses = [
        httpx.post(f"{gateway.url}/v1/chat/completions", json=ask, headers=headers, timeout=30).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 200 if passes else 429]


def test_a_key_over_its_rate_is_told_when_to_come_back(
    serve: Callable[..., RunningGateway], sim: SimulatedCloud
) -> None:
    secret = "desk-secret-of-the-house"
    gateway = serve(
        document(sim, keys={"desk": {"secret": "env:DESK_KEY", "rpm": 1, "task": "tag"}}), KEY | {"DESK_KEY": secret}
    )
    client = gateway.client(secret)
    client.chat.completions.create(**ASKED, extra_headers={"x-breakeven-task": "route"})
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**ASKED)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
    assert refused.value.code == "rate_limit_exceeded"
    (booked, *_) = gateway.calls()
    assert (booked.key, booked.task) == ("desk", "tag")


@pytest.mark.postgres
def test_two_gateways_on_one_database_spend_at_most_a_dollar_together(
    sim: SimulatedCloud, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIM_KEY", KEY["SIM_KEY"])
    file = tmp_path / "breakeven.toml"
    file.write_text(toml(document(sim, ledger={"url": postgres_url})))
    with ExitStack() as stack:
        ports = [stack.enter_context(gateway_process(tmp_path / name, file))[1] for name in "ab"]
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        ended = race(urls)
        assert sum(ended.values()) == 2 * CALLS
        assert set(ended) <= {ANSWERED, SPENT, HELD}
        spend_the_rest(urls[0])
        spend_the_rest(urls[1])
        assert 1 - BOUND < invoiced(sim) <= 1
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        spent, reserved = connection.exec_driver_sql("SELECT spent, reserved FROM budget_balances").one()
    engine.dispose()
    assert (spent, reserved) == (invoiced(sim), 0)


def toml(document: dict[str, Any]) -> str:
    """Tables of tables of plain values as TOML."""
    lines: list[str] = []

    def table(path: list[str], values: dict[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        if plain and path:
            lines.append(f"[{'.'.join(json.dumps(part) for part in path)}]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                table([*path, key], value)

    table([], document)
    return "\n".join(lines) + "\n"
