"""Several gateways on one PostgreSQL: processes of their own that race, die and come back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.accounts.worker import ANSWER, BODY, DOCUMENT, SPENDER
from tests.fakes import child

from breakeven import config
from breakeven.accounts.accounts import Accounts, open_accounts
from breakeven.accounts.answers import Answer
from breakeven.accounts.budget import Balance
from breakeven.accounts.idempotency import Lease
from breakeven.accounts.key_table import KeyTable, VirtualKey
from breakeven.accounts.verdicts import Verdict
from breakeven.errors import BudgetExhausted, LedgerUnavailable
from breakeven.ledger import database
from breakeven.ledger.ledger import Ledger

pytestmark = pytest.mark.postgres

Worker = subprocess.Popen[str]


@contextmanager
def worker(url: str, home: Path, task: str, argument: str = "") -> Iterator[Worker]:
    """A gateway in a process of its own."""
    command = [sys.executable, "-m", "tests.accounts.worker", url, str(home), task, argument]
    with child.running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


def hear(process: Worker) -> str:
    return child.line_of(process, process.stdout).strip()


def tell(process: Worker) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@asynccontextmanager
async def gateway(url: str, home: Path, **more: Any) -> AsyncIterator[Accounts]:
    """A gateway in this process."""
    settings = config.parse({**DOCUMENT, "ledger": {"url": url}})
    ledger = Ledger.open(settings.ledger, home)
    try:
        async with open_accounts(settings, home, ledger, {}, **{"poll_seconds": 0.05, **more}) as accounts:
            yield accounts
    finally:
        ledger.close()


def run(work: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(limited())


async def eventually(holds: Any) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def balances(accounts: Accounts) -> list[Balance | None]:
    return [standing.balance for standing in accounts.standings()]


def test_two_processes_with_two_hundred_calls_each_spend_at_most_one_dollar(postgres_url: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(postgres_url, tmp_path / name, "spend")) for name in "ab"]
        assert [hear(one) for one in workers] == ["ready", "ready"]
        for one in workers:
            tell(one)
        spent = sum(Decimal(hear(one)) for one in workers)

    async def work() -> None:
        async with gateway(postgres_url, tmp_path / "c") as accounts:
            assert balances(accounts) == [Balance(spent, Decimal(0))] * 2

    assert Decimal("0.3") < spent <= 1
    run(work)


def test_a_revoked_key_is_refused_by_the_other_process(postgres_url: str, tmp_path: Path) -> None:
    engine = database.connect(config.LedgerSettings(url=postgres_url), tmp_path)
    table = KeyTable(engine)
    table.migrate()
    with worker(postgres_url, tmp_path, "identify", table.create(VirtualKey("night"))) as other:
        assert hear(other) == "night"
        table.revoke("night")
        assert hear(other) == "revoked"
    engine.dispose()


def test_a_call_in_flight_elsewhere_is_joined(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path / "a") as accounts:
            with worker(postgres_url, tmp_path / "b", "hold") as other:
                assert await asyncio.to_thread(hear, other) == "holding"
                joining = asyncio.create_task(accounts.idempotency.begin("desk /v1/x", "k", BODY))
                done, _ = await asyncio.wait([joining], timeout=0.3)
                assert not done
                tell(other)
                assert await joining == ANSWER
                assert await asyncio.to_thread(other.wait) == 0
            await accounts.refresh()
            assert balances(accounts) == [Balance(Decimal("0.5"), Decimal(0))] * 2

    run(work)


def test_what_a_killed_process_held_is_given_back_and_its_call_taken_over(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path / "a", dead_seconds=0.5) as accounts:
            with worker(postgres_url, tmp_path / "b", "hold") as other:
                assert await asyncio.to_thread(hear, other) == "holding"
                with pytest.raises(BudgetExhausted) as refused:
                    await accounts.reserve(SPENDER, Decimal("0.2"))
                assert refused.value.status == 429
                other.kill()
            lease = await accounts.idempotency.begin("desk /v1/x", "k", BODY)
            assert isinstance(lease, Lease)
            await lease.finish(ANSWER)
            await eventually(lambda: balances(accounts) == [Balance(Decimal(0), Decimal(0))] * 2)
            await accounts.release(await accounts.reserve(SPENDER, Decimal(1)))

    run(work)


def test_a_settlement_that_comes_after_all_still_counts(postgres_url: str, tmp_path: Path) -> None:
    """A gateway that was paused, and taken for dead, has spent the money nonetheless."""

    async def work() -> None:
        async with (
            gateway(postgres_url, tmp_path / "a", poll_seconds=3600) as paused,
            gateway(postgres_url, tmp_path / "b", poll_seconds=3600) as other,
        ):
            reservation = await paused.reserve(SPENDER, Decimal("0.9"))
            assert paused._presence is not None
            paused._presence.leave()
            await other.refresh()
            assert other.left(SPENDER) == 1
            await paused.settle(reservation, Decimal("0.4"))
            await paused.settle(reservation, Decimal("0.4"))
            await other.refresh()
            assert other.left(SPENDER) == Decimal("0.6")
            await paused.release(await paused.reserve(SPENDER, Decimal("0.6")))  # it is back among the living

    run(work)


def test_verdicts_of_breakers_reach_the_other_gateway(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path / "a") as one, gateway(postgres_url, tmp_path / "b") as other:
            opened = Verdict("openai", "gpt-6", "open", 4e9)
            one.verdicts.publish(opened)
            await eventually(lambda: other.verdicts.of_others() == {("openai", "gpt-6"): opened})
            assert one.verdicts.of_others() == {}
            closed = Verdict("openai", "gpt-6", "closed", 4e9)
            other.verdicts.publish(closed)
            assert other.verdicts.of_others() == {}
            await eventually(lambda: one.verdicts.of_others() == {("openai", "gpt-6"): closed})
            one.verdicts.publish(Verdict("openai", "gpt-6", "open", 1.0))  # long over
            await one.refresh()
            await eventually(lambda: not other.verdicts.of_others())

    run(work)


@contextmanager
def outage(url: str) -> Iterator[None]:
    """The database takes no connections, and those it had are cut."""
    name = sa.make_url(url).database
    administration = sa.create_engine(sa.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        try:
            yield
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    administration.dispose()


def test_an_outage_refuses_what_cannot_be_checked_and_loses_no_settlement(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path) as accounts:
            secret = await asyncio.to_thread(accounts._keys.create, VirtualKey("night"))
            await accounts.refresh()
            reservations = [await accounts.reserve(SPENDER, Decimal("0.1")) for _ in range(3)]
            lease = await accounts.idempotency.begin("desk /v1/x", "k", BODY)
            assert isinstance(lease, Lease)
            with outage(postgres_url):
                for reservation in reservations:
                    await accounts.settle(reservation, Decimal("0.01"))
                await lease.finish(ANSWER)
                with pytest.raises(LedgerUnavailable):
                    await accounts.reserve(SPENDER, Decimal("0.1"))
                with pytest.raises(LedgerUnavailable):
                    await accounts.idempotency.begin("desk /v1/x", "new", BODY)
                assert await accounts.idempotency.begin("desk /v1/x", "k", BODY) == ANSWER
                assert accounts.identify(secret).name == "night"
                await eventually(lambda: accounts.trouble is not None)
            await eventually(lambda: accounts.trouble is None)
            assert balances(accounts) == [Balance(Decimal("0.03"), Decimal(0))] * 2
            assert isinstance(await accounts.idempotency.begin("desk /v1/x", "k", BODY), Answer)

    run(work)


def test_after_an_outage_nobody_is_taken_for_dead_at_once(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path / "a") as one, gateway(postgres_url, tmp_path / "b") as other:
            await one.reserve(SPENDER, Decimal("0.9"))
            with outage(postgres_url):
                await eventually(lambda: one.trouble is not None and other.trouble is not None)
            await eventually(lambda: one.trouble is None and other.trouble is None)
            assert other.left(SPENDER) == Decimal("0.1")

    run(work)


def test_a_caller_who_leaves_while_money_is_reserved_holds_none(postgres_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with gateway(postgres_url, tmp_path) as accounts:
            for _ in range(20):
                leaving = asyncio.create_task(accounts.reserve(SPENDER, Decimal("0.5")))
                await asyncio.sleep(0)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            while balances(accounts) != [Balance(Decimal(0), Decimal(0))] * 2:
                await accounts.refresh()

    run(work)
