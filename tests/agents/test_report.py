"""The morning report adds up."""

from __future__ import annotations

from decimal import Decimal

from breakeven.agents.report import RunRow, report, share_of_box, total
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Durations, Money


def attempt(number: int, locality: str, money: Money, tokens: TokenCounts | None = None) -> Attempt:
    local = locality == "local"
    return Attempt(
        number,
        "engine" if local else "sky",
        locality,  # type: ignore[arg-type]
        "m",
        0.0,
        Durations(),
        "completed",
        "engine",
        "test",
        tokens=tokens,
        box_seconds=30.0 if local else None,
        money=money,
    )


LOCAL = Money(Decimal(0), Decimal("0.001"), Decimal("0.002"), Decimal("0.003"), Decimal("0.05"))
KEPT = Call("1", 0, "/v1", "auto", False, "completed", (attempt(1, "local", LOCAL, TokenCounts(100, 300)),), agent="a")
ESCALATED = Call(
    "2", 0, "/v1", "auto", False, "completed",
    (attempt(1, "local", LOCAL, TokenCounts(100, 0)), attempt(2, "remote", Money(Decimal("0.02")))), agent="a",
)  # fmt: skip
UNPRICED = Call("3", 0, "/v1", "auto", False, "completed", (attempt(1, "remote", Money()),), agent="b")
FOREIGN = Call("4", 0, "/v1", "auto", False, "completed", (attempt(1, "remote", Money(Decimal(9))),))
RUNS = [
    RunRow("a", "done", 0.1, 3, 0), RunRow("a", "done", 0.3, 2, 1), RunRow("a", "skipped", None, 0, 0),
    RunRow("b", "failed", 0.2, 0, 0),
]  # fmt: skip
ROWS = report(RUNS, {"a": {"done": 5, "dead": 1, "ready": 4}}, [KEPT, ESCALATED, UNPRICED, FOREIGN])


def test_an_escalated_call_costs_on_both_sides_and_saves_nothing() -> None:
    a, _ = ROWS
    assert (a.runs, a.skipped, a.succeeded, a.failed, a.waiting, a.dead) == (2, 1, 5, 1, 4, 1)
    assert (a.cost.calls, a.cost.served_locally) == (2, 1)
    assert (a.cost.local, a.cost.cloud, a.cost.counterfactual) == (Decimal("0.012"), Decimal("0.02"), Decimal("0.05"))
    assert a.cost.prefix_hits == 0.6
    assert a.lag_p50 == 0.2


def test_what_is_unknown_stays_unknown() -> None:
    _, b = ROWS
    assert b.cost.cloud is None
    assert b.cost.prefix_hits is None
    assert b.failed_runs == 1
    assert total(ROWS).cloud is None
    assert total(ROWS).local == Decimal("0.012")


def test_the_share_of_the_box_that_a_fleet_needs() -> None:
    assert share_of_box(ROWS, {"a": 60.0, "b": 60.0}) == 0.5  # 60 s of the box in two runs, each every 60 s
    assert share_of_box(ROWS, {"b": 60.0}) is None
