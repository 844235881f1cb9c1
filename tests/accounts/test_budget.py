"""The arithmetic of budgets: never more than the limit, nothing lost, whatever the order of events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from breakeven import config
from breakeven.accounts.budget import (
    Balance,
    Budget,
    Line,
    Reservation,
    Spender,
    configured_budgets,
    exhausted,
    lines_for,
    window_at,
)
from breakeven.accounts.store import OwnBudgets
from breakeven.errors import BudgetExhausted, ConfigError, LedgerUnavailable

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
SPENDER = Spender("desk", "tag", "triage", "cloud", "large")
amounts = st.decimals(0, 3, places=9)


class NoHistory:
    """Books in which nothing was spent."""

    def __init__(self) -> None:
        self.presumed: list[Reservation] = []

    async def spent(self, line: Line) -> Decimal:
        return Decimal(0)

    async def presume(self, reservation: Reservation) -> None:
        self.presumed.append(reservation)


class BudgetMachine(RuleBasedStateMachine):
    """Calls come, cost at most what was reserved for them, fail, or are never heard of again."""

    held = Bundle("held")

    @initialize(limits=st.lists(st.decimals(0, 5, places=9), min_size=1, max_size=3))
    def open(self, limits: list[Decimal]) -> None:
        self.store = OwnBudgets(NoHistory(), lambda: NOON)
        scopes = ({}, {"key": "desk"}, {"task": "tag"})
        self.budgets = [Budget(str(n), usd, **scopes[n]) for n, usd in enumerate(limits)]  # type: ignore[arg-type]
        self.spent = {budget.name: Decimal(0) for budget in self.budgets}
        self.open_amounts: dict[str, Reservation] = {}

    def run_now(self, work):  # type: ignore[no-untyped-def]
        """What the store awaits is ready at once, so that one step of the coroutine is all of it."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the store waited for something")

    @rule(target=held, amount=amounts, key=st.sampled_from(["desk", None]), task=st.sampled_from(["tag", None]))
    def reserve(self, amount: Decimal, key: str | None, task: str | None) -> Reservation | None:
        lines = lines_for(self.budgets, Spender(key, task, None, "cloud", "large"), NOON)
        left = [line.budget.usd - self.spent[line.budget.name] - self.reserved(line) for line in lines]
        try:
            reservation = self.run_now(self.store.reserve(lines, amount))
        except BudgetExhausted:
            assert amount > min(left)
            return None
        assert amount == 0 or not left or amount <= min(left)
        self.open_amounts[reservation.id] = reservation
        return reservation  # type: ignore[no-any-return]

    @rule(reservation=consumes(held), share=st.fractions(0, 1, max_denominator=7))
    def settle(self, reservation: Reservation | None, share) -> None:  # type: ignore[no-untyped-def]
        if reservation is None:
            return
        cost = (reservation.amount * share.numerator / share.denominator).quantize(Decimal("1e-9"), "ROUND_DOWN")
        for _ in range(2):  # the second time must change nothing
            self.run_now(self.store.settle(reservation, cost))
        self.close(reservation, cost)

    @rule(reservation=consumes(held))
    def settle_unknown(self, reservation: Reservation | None) -> None:
        if reservation is not None:
            self.run_now(self.store.settle(reservation, None))
            self.close(reservation, reservation.amount)

    @rule(reservation=consumes(held))
    def release(self, reservation: Reservation | None) -> None:
        if reservation is not None:
            self.run_now(self.store.release(reservation))
            self.close(reservation, Decimal(0))

    def close(self, reservation: Reservation, cost: Decimal) -> None:
        del self.open_amounts[reservation.id]
        for line in reservation.lines:
            self.spent[line.budget.name] += cost

    def reserved(self, line: Line) -> Decimal:
        return sum((one.amount for one in self.open_amounts.values() if line in one.lines), Decimal(0))

    @invariant()
    def books_agree_and_no_limit_is_passed(self) -> None:
        for budget in getattr(self, "budgets", []):
            line = Line(budget, window_at("day", NOON))
            balance = self.store.balance(line) or Balance()
            assert balance == Balance(self.spent[budget.name], self.reserved(line))
            assert balance.spent + balance.reserved <= budget.usd


TestBudgets = BudgetMachine.TestCase
TestBudgets.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_settlement_beyond_its_reservation_is_booked_as_it_is() -> None:
    balance = Balance(Decimal("0.9"), Decimal("0.1")).settle(Decimal("0.1"), Decimal("0.3"))
    assert balance == Balance(Decimal("1.2"), Decimal(0))
    assert balance.left(Decimal(1)) == Decimal("-0.2")
    assert balance.reserve(Decimal("0.01"), Decimal(1)) is None
    assert balance.reserve(Decimal(0), Decimal(1)) is not None


@given(st.floats(0, 4e9))
def test_a_moment_lies_in_its_day_and_its_month(moment: float) -> None:
    for per in ("day", "month"):
        window = window_at(per, moment)  # type: ignore[arg-type]
        assert window.end is not None
        assert window.start <= moment < window.end
        assert window_at(per, window.end) != window  # type: ignore[arg-type]
        assert datetime.fromtimestamp(moment, UTC).isoformat().startswith(window.name)


def test_a_budget_covers_what_it_names_and_nothing_else() -> None:
    budget = Budget("b", Decimal(1), key="desk", provider="cloud")
    assert budget.covers(SPENDER)
    assert not budget.covers(Spender("other", "tag", "triage", "cloud", "large"))
    assert not budget.covers(Spender(None, "tag", "triage", "cloud", "large"))
    assert not budget.covers(Spender("desk", "tag", "triage", "elsewhere", "large"))


def test_local_attempts_fall_under_budgets_that_count_all() -> None:
    local = Spender("desk", None, None, "engine", "demo", "local")
    assert not Budget("b", Decimal(1)).covers(local)
    assert Budget("b", Decimal(1), counts="all").covers(local)


def test_spent_money_is_402_until_the_period_ends_and_held_money_429_for_a_moment() -> None:
    line = Line(Budget("b", Decimal(1), on_exhausted="local"), window_at("day", NOON))
    spent = exhausted(line, Balance(spent=Decimal("0.95")), Decimal("0.1"), NOON)
    assert (spent.status, spent.retry_after_seconds, spent.on_exhausted) == (402, 12 * 3600, "local")
    assert "$0.95 is spent" in spent.message
    held = exhausted(line, Balance(reserved=Decimal("0.95")), Decimal("0.1"), NOON)
    assert (held.status, held.retry_after_seconds) == (429, 1)
    forever = exhausted(Line(Budget("b", Decimal(1), "total"), window_at("total", NOON)), Balance(), Decimal(2), NOON)
    assert (forever.status, forever.retry_after_seconds) == (402, None)


def test_an_attempt_of_unknown_cost_is_kept_as_if_it_had_cost_all_that_was_held() -> None:
    async def run() -> None:
        history = NoHistory()
        store = OwnBudgets(history, lambda: NOON)
        lines = lines_for([Budget("b", Decimal(1))], SPENDER, NOON)
        reservation = await store.reserve(lines, Decimal("0.6"))
        await store.settle(reservation, None)
        assert store.balance(lines[0]) == Balance(Decimal("0.6"), Decimal(0))
        assert history.presumed == [reservation]

    asyncio.run(run())


class Spent(NoHistory):
    """Books in which ten cents were spent in every line."""

    async def spent(self, line: Line) -> Decimal:
        return Decimal("0.1")


def test_ended_windows_are_forgotten_once_nothing_is_held_in_them() -> None:
    async def run() -> None:
        now = NOON
        store = OwnBudgets(NoHistory(), lambda: now)
        lines = lines_for([Budget("b", Decimal(1))], SPENDER, NOON)
        reservation = await store.reserve(lines, Decimal("0.6"))
        now += 3 * 86_400
        await store.tick(lines)
        assert store.balance(lines[0]) is not None
        await store.settle(reservation, Decimal("0.1"))
        await store.tick(lines)
        assert store.balance(lines[0]) is None

    asyncio.run(run())


def test_the_books_are_asked_unless_the_budget_was_known_before_the_window_began() -> None:
    async def run() -> None:
        now = NOON
        store = OwnBudgets(Spent(), lambda: now)
        early, late = Budget("early", Decimal(1)), Budget("late", Decimal(1))

        async def spent(budget: Budget) -> Decimal:
            line = Line(budget, window_at("day", now))
            await store.learn((line,))
            balance = store.balance(line)
            assert balance is not None
            return balance.spent

        assert await spent(early) == Decimal("0.1")
        now += 86_400
        assert await spent(early) == 0
        assert await spent(late) == Decimal("0.1")  # added while the gateway runs
        await store.tick((Line(early, window_at("day", now)),))
        assert await spent(late) == Decimal("0.1")  # taken away and put back

    asyncio.run(run())


def test_books_that_cannot_be_read_refuse_and_are_asked_again() -> None:
    class Down(NoHistory):
        down = True

        async def spent(self, line: Line) -> Decimal:
            if self.down:
                raise LedgerUnavailable("down")
            return Decimal("0.9")

    async def run() -> None:
        history = Down()
        store = OwnBudgets(history, lambda: NOON)
        lines = lines_for([Budget("b", Decimal(1))], SPENDER, NOON)
        with pytest.raises(LedgerUnavailable):
            await store.reserve(lines, Decimal("0.2"))
        history.down = False
        with pytest.raises(BudgetExhausted):
            await store.reserve(lines, Decimal("0.2"))

    asyncio.run(run())


def test_budgets_come_from_their_tables_and_from_keys() -> None:
    settings = config.parse(
        {
            "keys": {"desk": {"secret": "env:DESK", "budget": "$2.50/month"}},
            "budgets": {"cloud": {"usd": "1.00", "per": "day", "task": "tag", "on_exhausted": "local"}},
        }
    )
    assert configured_budgets(settings.budgets, settings.keys) == (
        Budget("cloud", Decimal("1.00"), task="tag", on_exhausted="local"),
        Budget("keys.desk", Decimal("2.50"), "month", key="desk"),
    )


@pytest.mark.parametrize("amount", ["5", "$5/hour", "-1/day", "$1e9/day", "$5 / day"])
def test_a_keys_budget_must_be_dollars_and_a_period(amount: str) -> None:
    with pytest.raises(ConfigError, match=r"keys\.desk\.budget"):
        config.parse({"keys": {"desk": {"secret": "env:DESK", "budget": amount}}})
