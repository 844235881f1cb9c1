"""Daily totals are exact and count what they do not know."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.samples import DAY, NOVEMBER, call, local_attempt, remote_attempt

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Money
from breakeven.ledger.rollup import Rollup, brought_nothing, escalated

amounts = st.none() | st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=25)
token_counts = st.none() | st.builds(
    TokenCounts,
    uncached_input=st.integers(0, 10**7),
    cache_read=st.integers(0, 10**7),
    output=st.integers(10**3, 10**6),
    reasoning=st.none() | st.integers(0, 10**3),
)


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    make = draw(st.sampled_from([local_attempt, remote_attempt]))
    return make(
        draw(st.integers(1, 3)),
        outcome=draw(st.sampled_from(["completed", "failed", "cut"])),
        tokens=draw(token_counts),
        money=Money(billed=draw(amounts), marginal_energy=draw(amounts), counterfactual=draw(amounts)),
        watt_hours=draw(st.none() | st.floats(0, 100)),
        model_served=draw(st.sampled_from([None, "a", "b"])),
    )


calls = st.builds(
    lambda name, at, tries: call(str(name), *tries, at=NOVEMBER + at),
    st.integers(),
    st.floats(0, 3 * DAY),
    st.lists(attempts(), min_size=1, max_size=3),
)


@given(st.lists(calls, max_size=12))
def test_totals_equal_a_full_recomputation(batch: list[Call]) -> None:
    rollup = Rollup(batch)
    tries = [attempt for one in batch for attempt in one.attempts]
    rows = rollup.totals.values()
    for part in ("billed", "marginal_energy", "counterfactual"):
        exact = sum((Fraction(v) for a in tries if (v := getattr(a.money, part)) is not None), Fraction())
        assert sum((Fraction(row[f"{part}_usd"]) for row in rows), Fraction()) == exact
    known = [Fraction(repr(attempt.watt_hours)) for attempt in tries if attempt.watt_hours is not None]
    assert sum((Fraction(row["watt_hours"]) for row in rows), Fraction()) == sum(known, Fraction())
    assert sum(row["attempts"] for row in rows) == len(tries)
    assert sum(row["calls"] for row in rows) == len(batch)
    assert sum(row["escalations"] for row in rows) == sum(map(escalated, batch))
    assert sum(row["output"] for row in rows) == sum(a.tokens.output for a in tries if a.tokens)
    assert sum(row["marginal_energy_usd_unknown"] for row in rows) == sum(
        1 for a in tries if a.locality == "local" and a.money.marginal_energy is None
    )
    assert sum(rollup.provenance.values()) == sum(
        (not brought_nothing(a)) + (a.power_meter is not None) + (a.price is not None) + (a.reference_price is not None)
        for a in tries
    )


def test_a_day_is_a_day_in_utc() -> None:
    rollup = Rollup([call("a", at=NOVEMBER - 0.5), call("b", at=NOVEMBER)])
    assert [key[0] for key in rollup.totals] == [date(2026, 10, 31), date(2026, 11, 1)]
    assert datetime.fromtimestamp(NOVEMBER, UTC).day == 1


def test_what_a_remote_attempt_does_not_have_is_not_unknown() -> None:
    (row,) = Rollup([call("a", remote_attempt())]).totals.values()
    assert {name: value for name, value in row.items() if name.endswith("_unknown") and value} == {
        "reasoning_unknown": 1
    }


def test_an_error_before_any_answer_costs_nothing_and_is_not_unknown() -> None:
    failed = remote_attempt(outcome="failed", tokens=None, counted_by="nobody", money=Money())
    (row,) = Rollup([call("a", failed)]).totals.values()
    assert (row["tokens_unknown"], row["billed_usd_unknown"], row["counterfactual_usd_unknown"]) == (0, 0, 0)


def test_an_answer_that_nobody_counted_is_unknown() -> None:
    cut = remote_attempt(outcome="cut", tokens=None, counted_by="nobody", money=Money())
    (row,) = Rollup([call("a", cut)]).totals.values()
    assert (row["tokens_unknown"], row["billed_usd_unknown"], row["counterfactual_usd_unknown"]) == (1, 1, 1)


def test_the_last_attempt_carries_the_call() -> None:
    rollup = Rollup([call("a", local_attempt(outcome="failed"), remote_attempt(2))])
    assert [(key[4], key[6], key[7], row["calls"], row["escalations"]) for key, row in rollup.totals.items()] == [
        ("local", "failed", False, 0, 0),
        ("remote", "completed", True, 1, 1),
    ]


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        ([local_attempt(), remote_attempt(2)], True),
        ([remote_attempt(), local_attempt(2)], False),
        ([local_attempt(), local_attempt(2)], False),
        ([remote_attempt()], False),
    ],
)
def test_escalation_is_local_first_then_remote(tries: list[Attempt], expected: bool) -> None:
    assert escalated(call("a", *tries)) is expected


def test_sums_too_long_to_be_exact_are_an_error_not_a_rounding() -> None:
    huge = Money(billed=Decimal("1E+3000"))
    with pytest.raises(ArithmeticError):
        Rollup([call("a", local_attempt(money=huge)), call("b", local_attempt(money=Money(billed=Decimal("1E-3000"))))])
