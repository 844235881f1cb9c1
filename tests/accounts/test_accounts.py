"""Budgets as the gateway meets them, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.accounts.conftest import Run, accounts_of
from tests.ledger.samples import call, local_attempt, remote_attempt

from breakeven.accounts.accounts import Accounts
from breakeven.accounts.budget import UNBUDGETED, Balance, Spender
from breakeven.errors import BudgetExhausted, CostUnknown, InputError
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Money

SPENDER = Spender("desk", "tag", "triage", "openai", "gpt-6")
ONE_DOLLAR: dict[str, Any] = {"budgets": {"cloud": {"usd": "1.00", "per": "day"}}}
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


async def try_to_spend(accounts: Accounts, bound: Decimal, actual: Decimal) -> Decimal:
    """What was spent: nothing when refused."""
    try:
        reservation = await accounts.reserve(SPENDER, bound)
    except BudgetExhausted:
        return Decimal(0)
    await asyncio.sleep(0)
    await accounts.settle(reservation, actual)
    return actual


def test_two_hundred_calls_at_once_do_not_overspend_a_dollar(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        bound, actual = Decimal("0.03"), Decimal("0.0123456789")
        spent = await asyncio.gather(*(try_to_spend(accounts, bound, actual) for _ in range(200)))
        (standing,) = accounts.standings()
        assert standing.balance == Balance(sum(spent, Decimal(0)), Decimal(0))
        assert Decimal("0.3") < standing.balance.spent <= 1

    with_accounts(ONE_DOLLAR, work)


def test_all_budgets_that_cover_a_call_must_agree_or_none_is_touched(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        with pytest.raises(BudgetExhausted, match="'small'"):
            await accounts.reserve(SPENDER, Decimal("0.2"))
        assert [one.balance for one in accounts.standings()] == [Balance()] * 3
        reservation = await accounts.reserve(SPENDER, Decimal("0.1"))
        held = Balance(reserved=Decimal("0.1"))
        assert [one.balance for one in accounts.standings()] == [held, Balance(), held]
        assert accounts.left(SPENDER) == 0
        await accounts.release(reservation)
        assert accounts.left(SPENDER) == Decimal("0.1")

    budgets = {"large": {"usd": "5"}, "other": {"usd": "0", "key": "lab"}, "small": {"usd": "0.1", "task": "tag"}}
    with_accounts({"budgets": budgets}, work)


def test_what_no_budget_covers_is_not_held(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        local = Spender("desk", "tag", "triage", "engine", "demo", "local")
        assert accounts.left(local) is None
        assert await accounts.reserve(local, None) is UNBUDGETED
        await accounts.settle(UNBUDGETED, None)
        await accounts.release(UNBUDGETED)

    with_accounts(ONE_DOLLAR, work)


def test_an_unknown_price_is_refused_under_a_budget_unless_allowed(with_accounts: Run) -> None:
    async def refused(accounts: Accounts) -> None:
        with pytest.raises(CostUnknown, match=r"openai/gpt-6 may cost is unknown"):
            await accounts.reserve(SPENDER, None)

    async def allowed(accounts: Accounts) -> None:
        unbounded = await accounts.reserve(SPENDER, None)
        assert accounts.left(SPENDER) == 1
        await accounts.settle(unbounded, Decimal("0.25"))
        assert accounts.left(SPENDER) == Decimal("0.75")

    with_accounts(ONE_DOLLAR, refused)
    with_accounts({"budgets": {"cloud": {"usd": "1", "unknown_cost": "allow"}}}, allowed)


def test_local_calls_pass_until_a_budget_that_counts_all_is_spent(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        local = Spender("desk", None, None, "engine", "demo", "local")
        await accounts.settle(await accounts.reserve(local, None), Decimal("0.7"))
        await accounts.settle(await accounts.reserve(local, None), Decimal("0.7"))
        with pytest.raises(BudgetExhausted, match=r"exhausted: of \$1\.00 .* \$1\.40 is spent") as refused:
            await accounts.reserve(local, None)
        assert refused.value.status == 402

    with_accounts({"budgets": {"everything": {"usd": "1.00", "counts": "all"}}}, work)


def test_the_first_moment_of_a_day_has_the_whole_budget(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        await accounts.reserve(SPENDER, Decimal(1))
        assert accounts.left(SPENDER) == 0
        assert accounts.left(SPENDER, at=time.time() + 86_400) == 1

    with_accounts(ONE_DOLLAR, work)


def test_settling_twice_or_releasing_afterwards_changes_nothing(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        reservation = await accounts.reserve(SPENDER, Decimal("0.5"))
        await accounts.settle(reservation, Decimal("0.25"))
        await accounts.settle(reservation, Decimal("0.25"))
        await accounts.release(reservation)
        assert accounts.standings()[0].balance == Balance(Decimal("0.25"), Decimal(0))
        both = await accounts.reserve(SPENDER, Decimal("0.5"))
        await asyncio.gather(accounts.settle(both, Decimal("0.25")), accounts.release(both))
        assert accounts.standings()[0].balance == Balance(Decimal("0.50"), Decimal(0))

    with_accounts(ONE_DOLLAR, work)


def test_an_attempt_of_unknown_cost_counts_as_all_that_was_held_also_after_a_restart(with_accounts: Run) -> None:
    async def spend(accounts: Accounts) -> None:
        await accounts.settle(await accounts.reserve(SPENDER, Decimal("0.7")), None)

    async def look(accounts: Accounts) -> None:
        assert accounts.left(SPENDER) == Decimal("0.3")

    with_accounts(ONE_DOLLAR, spend)
    with_accounts(ONE_DOLLAR, look)


def test_a_call_belongs_to_the_day_it_was_received_on(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        await accounts.reserve(SPENDER, Decimal(1), at=NOON)
        await accounts.reserve(SPENDER, Decimal(1), at=NOON + 86_400)
        with pytest.raises(BudgetExhausted):
            await accounts.reserve(SPENDER, Decimal(1), at=NOON)

    with_accounts(ONE_DOLLAR, work)


def test_a_budget_starts_from_what_the_books_say_was_spent(with_accounts: Run, ledger: Ledger) -> None:
    for n in range(3):
        cost = Money(billed=Decimal("0.1"), marginal_energy=Decimal("0.01"), idle_share=Decimal("0.001"))
        attempts = (local_attempt(money=cost), remote_attempt(2, money=Money(billed=Decimal("0.2"))))
        ledger.record(call(str(n), *attempts, at=NOON, key="desk", task="tag", agent="triage"))
    ledger.record(call("other-key", remote_attempt(), at=NOON, key="lab"))
    ledger.record(call("day-before", remote_attempt(), at=NOON - 86_400, key="desk"))
    ledger.record(call("imported", remote_attempt(), at=NOON, key="desk", origin="claude-code"))

    billed = {"usd": "1.00", "key": "desk", "task": "tag", "model": "gpt-6"}
    everything = {"usd": "1.00", "key": "desk", "counts": "all"}
    with_accounts({"budgets": {"billed": billed}}, lambda accounts: _left_is(accounts, "0.4"))
    with_accounts({"budgets": {"everything": everything}}, lambda accounts: _all_is(accounts, "0.933"))


async def _left_is(accounts: Accounts, left: str) -> None:
    await accounts.release(await accounts.reserve(SPENDER, Decimal("0.01"), at=NOON))
    assert accounts.left(SPENDER, at=NOON) == Decimal(left)


async def _all_is(accounts: Accounts, spent: str) -> None:
    local = Spender("desk", None, None, "engine", "demo", "local")
    await accounts.release(await accounts.reserve(local, Decimal("0.01"), at=NOON))
    assert accounts.left(local, at=NOON) == 1 - Decimal(spent)


def test_a_second_gateway_on_the_database_is_refused_on_sqlite(tmp_path: Path, ledger: Ledger, url: str | None) -> None:
    async def work() -> None:
        async with accounts_of({}, tmp_path, ledger, url):
            if url is not None:
                async with accounts_of({}, tmp_path / "other", ledger, url):
                    return
            same = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
            for home, found_by in ((tmp_path, None), (tmp_path / "other", same)):
                with pytest.raises(InputError, match="another gateway spends from"):
                    async with accounts_of({}, home, ledger, found_by):
                        raise AssertionError("two gateways spend from one database")

    asyncio.run(work())
