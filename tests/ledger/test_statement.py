"""The statement says what a month cost, and says plainly what it does not know."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.samples import DAY, NOVEMBER, call, local_attempt, remote_attempt
from typer.testing import CliRunner

from breakeven.cli import statement as statement_command
from breakeven.config import LedgerSettings
from breakeven.economics.local import BoxCost
from breakeven.errors import InputError
from breakeven.ledger.journal import Journal, frame
from breakeven.ledger.ledger import JOURNAL_FOLDER
from breakeven.ledger.records import Attempt, Call, Money
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, Rollup
from breakeven.ledger.schema import COUNTS, EXACT_SUMS, TOTAL_KEY
from breakeven.ledger.statement import Month, Statement, Sum, compute
from breakeven.ledger.store import Store
from breakeven.ledger.verdict import Comparison, judge
from breakeven.units import SECONDS_PER_MONTH

GOLDEN = Path(__file__).parent / "statement.golden.json"
NOVEMBER_2026 = Month(2026, 11)
BOX = BoxCost(
    purchase_usd=Decimal(6000),
    term_months=36,
    idle_watts=Decimal(10),
    load_watts=Decimal(145),
    usd_per_kwh=Decimal("0.17"),
)


def stated(calls: list[Call], box: BoxCost | None = BOX) -> Statement:
    rollup = Rollup(calls)
    totals = [
        DailyTotal(
            **{name: row[name] for name in (*TOTAL_KEY, "first_at", "last_at")},
            counts={name: row[name] for name in COUNTS},
            sums={name: row[name] for name in EXACT_SUMS},
        )
        for row in rollup.total_rows()
    ]
    provenance = [
        ProvenanceCount(**{name: value for name, value in row.items() if name not in {"day", "origin"}})
        for row in rollup.provenance_rows()
    ]
    found = compute(NOVEMBER_2026, totals, provenance, box)
    assert found is not None
    return found


def three_days(*tries: Attempt, calls: int = 145) -> list[Call]:
    return [call(f"c{n}", *tries, at=NOVEMBER + n * 3 * DAY / (calls - 1)) for n in range(calls)]


def worth(counterfactual: str | None) -> Attempt:
    money = Money(
        billed=Decimal(0),
        marginal_energy=Decimal("0.001"),
        idle_share=Decimal("0.0001"),
        amortisation_share=Decimal("0.01"),
        counterfactual=None if counterfactual is None else Decimal(counterfactual),
    )
    return local_attempt(money=money)


def test_an_empty_month_has_no_statement() -> None:
    assert compute(NOVEMBER_2026, [], [], BOX) is None


def test_calls_are_counted_once_and_attempts_each() -> None:
    counted = stated(
        [
            call("a"),
            call("b", local_attempt(outcome="failed"), remote_attempt(2)),
            call("c", local_attempt(outcome="client_left")),
            call("d", remote_attempt(outcome="failed", tokens=None)),
            Call("e", NOVEMBER, "/v1/chat/completions", "x", False, "refused", ()),
        ]
    ).calls
    assert (counted.total, counted.attempts, counted.served_locally, counted.escalated) == (5, 5, 2, 1)
    assert (counted.completed, counted.client_left, counted.failed, counted.refused) == (2, 1, 1, 1)


def test_an_escalated_call_is_paid_twice_and_compared_once() -> None:
    found = stated([call("a", local_attempt(), remote_attempt(2))])
    assert found.billed.known == Decimal("0.0041")
    assert found.local.marginal_energy.known == Decimal("0.00001275")
    assert found.counterfactual.known == Decimal("0.00502")
    assert (found.tokens.total, found.discarded_tokens.total) == (1500, 1500)


def test_what_is_invoiced_is_told_by_key_discarded_attempts_included() -> None:
    found = stated(
        [
            call("a", remote_attempt(), remote_attempt(2, provider_key="env:SECOND")),
            call("b", local_attempt(), remote_attempt(2)),
            call("c", remote_attempt(provider_key=None, money=Money())),
        ]
    )
    bill = Decimal("0.0041")
    assert [(row.provider, row.provider_key, row.attempts, row.tokens, row.billed) for row in found.invoiced] == [
        ("openai", None, 1, 1500, Sum(Decimal(0), 1)),
        ("openai", "env:OPENAI_API_KEY", 2, 3000, Sum(2 * bill, 0)),
        ("openai", "env:SECOND", 1, 1500, Sum(bill, 0)),
    ]


def test_avoided_is_the_counterfactual_of_local_calls_less_their_full_cost() -> None:
    found = stated([call("a"), call("b", remote_attempt())])
    cost = Decimal("0.00001275") + Decimal("0.0000009") + Decimal("0.000126838")
    assert (found.avoided.usd, found.avoided.bound) == (Decimal("0.00502") - cost, "exact")


@pytest.mark.parametrize(
    ("tries", "usd", "bound"),
    [
        ([worth("0.005")], "-0.0061", "exact"),
        ([worth("0.05"), worth(None)], "0.0278", "at_least"),
        ([worth(None)], None, "unknown"),
        ([worth("0.05"), local_attempt(money=Money(counterfactual=Decimal("0.05")))], "0.0889", "at_most"),
        ([local_attempt(money=Money(counterfactual=Decimal("0.05")))], None, "unknown"),
        ([worth("0.05"), worth(None), local_attempt(money=Money(counterfactual=Decimal(1)))], None, "unknown"),
    ],
)
def test_unknown_amounts_leave_a_bound_or_nothing(tries: list[Attempt], usd: str | None, bound: str) -> None:
    avoided = stated([call(str(n), attempt) for n, attempt in enumerate(tries)]).avoided
    assert (avoided.usd, avoided.bound) == (None if usd is None else Decimal(usd), bound)


def test_an_unknown_price_is_counted_and_never_zero() -> None:
    found = stated([call("a", remote_attempt(money=Money())), call("b", remote_attempt())])
    assert found.billed == Sum(Decimal("0.0041"), 1)
    assert found.counterfactual.unknown_attempts == 1


def test_fixed_cost_that_no_call_used_is_shown_apart() -> None:
    found = stated(three_days(worth("0.05")))
    fixed = BOX.fixed_usd_monthly * Decimal(3 * 86_400) / SECONDS_PER_MONTH
    allocated = 145 * (Decimal("0.0001") + Decimal("0.01"))
    assert found.local.standing_idle == fixed - allocated
    assert found.local.fixed_monthly == BOX.fixed_usd_monthly


def test_calls_closer_together_than_their_own_work_cover_that_work() -> None:
    found = stated([call("a"), call("b", at=NOVEMBER + 1)])
    assert found.coverage.seconds == 4
    assert found.local.standing_idle is not None
    assert found.local.standing_idle >= 0


def test_the_plain_formula_has_c_as_its_outcome() -> None:
    formula = stated(three_days(worth("0.05"))).formula
    assert formula.m_tokens == 145 * 1500
    assert formula.c_usd_per_million == Decimal("0.05") / 1500 * 1_000_000
    assert formula.m_times_c.known == 145 * Decimal("0.05")
    assert formula.h == Decimal(6000) / 36 * 3 * 86_400 / SECONDS_PER_MONTH
    assert formula.e is not None
    idle = BOX.idle_usd_monthly * 3 * 86_400 / SECONDS_PER_MONTH
    assert abs(formula.e.known - idle - Decimal("0.145")) < Decimal("1e-20")


@pytest.mark.parametrize(
    ("calls", "box", "code", "words"),
    [
        (three_days(worth("0.5")), BOX, "local_cheaper", "On 3.0 days of data (145 local calls), the box cost $16.71"),
        (three_days(worth("0.05")), BOX, "cloud_cheaper", "times the volume would break even, with the box busy 0%"),
        (three_days(worth("0.0011")), BOX, "cloud_cheaper", "which is more than the box can serve"),
        (three_days(worth("0.0009")), BOX, "cloud_cheaper", "no volume would change that"),
        (three_days(worth("0.5"), calls=50), BOX, "too_little_data", "too little to judge by"),
        (three_days(worth("0.5"))[:40], BOX, "too_little_data", "On 19.5 hours of data (40 local calls)"),
        (three_days(worth("0.5")), None, "no_machine", "no machine is configured"),
        (three_days(remote_attempt()), BOX, "no_local_calls", "nothing to hold against the cloud"),
        (three_days(worth(None)), BOX, "unknown_cost", "charged an unknown amount: which is cheaper is unknown"),
        ([*three_days(worth("0.5")), call("x", worth(None))], BOX, "local_cheaper", "by at least $"),
        ([*three_days(worth("0.05")), call("x", worth(None))], BOX, "unknown_cost", "at least $7.25 (1 unknown)"),
        (
            [*three_days(worth("0.5")), call("x", local_attempt(money=Money(counterfactual=Decimal(0))))],
            BOX,
            "unknown_cost",
            "at least $16.71 (1 unknown)",
        ),
    ],
)
def test_the_verdict_claims_no_more_than_is_known(
    calls: list[Call], box: BoxCost | None, code: str, words: str
) -> None:
    verdict = stated(calls, box).verdict
    assert verdict.code == code
    assert words in verdict.sentence
    assert verdict.sentence.endswith(".")


def test_a_box_owned_anyway_is_judged_by_its_electricity() -> None:
    owned = BoxCost(Decimal(0), 36, Decimal(0), Decimal(135), Decimal("0.17"))
    assert stated(three_days(worth("0.0011")), owned).verdict.code == "local_cheaper"


@given(
    st.decimals(0, 1000, places=4),
    st.decimals(0, 1000, places=4),
    st.decimals(0, 1000, places=4),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_no_verdict_contradicts_what_the_unknown_part_could_still_be(
    cloud: Decimal, fixed: Decimal, marginal: Decimal, cloud_unknown: int, marginal_unknown: int
) -> None:
    facts = Comparison(1000, Decimal(10**6), Decimal(10**5), cloud, cloud_unknown, fixed, marginal, marginal_unknown)
    code = judge(facts).code
    if code == "local_cheaper":
        assert cloud > fixed + marginal
        assert marginal_unknown == 0
    if code == "cloud_cheaper":
        assert cloud < fixed + marginal
        assert cloud_unknown == 0


@pytest.mark.parametrize("text", ["2026-13", "November", "2026", "", "2026-1-1"])
def test_a_month_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected YYYY-MM"):
        Month.parse(text)


def test_december_ends_with_the_year() -> None:
    assert (Month(2026, 12).since, Month(2026, 12).until) == (date(2026, 12, 1), date(2027, 1, 1))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    file = tmp_path / "breakeven.toml"
    file.write_text("[box]\npurchase_usd = 6000\nidle_watts = 10\nload_watts = 145\n")
    monkeypatch.setenv("BREAKEVEN_CONFIG", str(file))
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    app = typer.Typer()
    app.callback()(lambda: None)
    statement_command.register(app)
    return app


def fill(home: Path, calls: list[Call]) -> None:
    home.mkdir(exist_ok=True)
    store = Store.open(LedgerSettings(), home)
    store.insert(calls)
    store.close()


def run(app: typer.Typer, *arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["statement", *arguments])
    return result.exit_code, result.output


def test_an_empty_ledger_is_told_kindly_and_leaves_no_files(command: typer.Typer, tmp_path: Path) -> None:
    assert run(command, "--month", "2026-11") == (
        0,
        "No calls in 2026-11 yet. Point a client at `breakeven serve` and come back.\n",
    )
    assert not (tmp_path / "home").exists()
    code, output = run(command, "--json", "--month", "2026-11")
    assert (code, json.loads(output)["verdict"]["code"]) == (0, "no_calls")


def test_an_empty_month_says_where_the_calls_are(command: typer.Typer, tmp_path: Path) -> None:
    fill(tmp_path / "home", [call()])
    code, output = run(command, "--month", "2025-01")
    assert (code, "from 2026-11-01 to 2026-11-01" in output) == (0, True)


def test_a_bad_month_is_one_line_and_exit_code_2(command: typer.Typer) -> None:
    code, output = run(command, "--month", "2026-13")
    assert code == 2
    assert output.splitlines() == ["error: --month '2026-13': expected YYYY-MM, for instance 2026-11"]


def test_the_json_is_exact_and_stable(command: typer.Typer, tmp_path: Path) -> None:
    escalated = call("z", local_attempt(), remote_attempt(2), at=NOVEMBER + DAY, origin="codex")
    fill(tmp_path / "home", [*three_days(worth("0.5")), escalated, call("y", remote_attempt(money=Money()))])
    code, output = run(command, "--month", "2026-11", "--json")
    assert code == 0
    assert json.loads(output) == json.loads(GOLDEN.read_text())


def test_the_table_shows_each_part(command: typer.Typer, tmp_path: Path) -> None:
    fill(tmp_path / "home", [*three_days(worth("0.05")), call("y", remote_attempt(money=Money()))])
    code, output = run(command, "--month", "2026-11")
    assert code == 0
    for words in (
        "145 served locally",
        "box standing idle",
        "avoided by serving locally",
        "M × C",
        "On 3.0 days of data",
        "counted by the local engine",
        "genai-prices 0.2.3, effective 2026-06-01",
        "unknown",
    ):
        assert words in output


def test_calls_that_a_killed_gateway_left_in_its_journal_are_counted(command: typer.Typer, tmp_path: Path) -> None:
    folder = tmp_path / "home" / JOURNAL_FOLDER
    folder.mkdir(parents=True)
    (folder / "1.journal").write_bytes(frame(msgspec.json.encode(call())))
    _, output = run(command, "--month", "2026-11", "--json")
    assert json.loads(output)["calls"]["total"] == 1


def test_calls_still_in_a_living_gateways_journal_are_announced(
    command: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_command, "PATIENCE_SECONDS", 0.0)
    journal = Journal(tmp_path / "home" / JOURNAL_FOLDER)
    journal.append(b"{}")
    _, output = run(command, "--month", "2026-11")
    assert "12 bytes of calls are on their way" in output
    journal.close()
