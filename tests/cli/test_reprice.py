"""``breakeven reprice`` from a real ledger."""

import json
from pathlib import Path

import pytest
from tests.ledger.samples import NOVEMBER, call, local_attempt, remote_attempt
from typer.testing import CliRunner, Result

from breakeven.cli.main import build
from breakeven.config import LedgerSettings
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import UsageBucket
from breakeven.ledger.store import Store

CONFIGURATION = """
[providers.house]
base_url = "http://127.0.0.1:1/v1"
locality = "remote"
catalog = "acme"

[prices."acme/large"]
input = "3"
output = "15"
source = "fixed for tests"
effective = "2026-01-01"

[prices."acme/small"]
input = "0.25"
output = "1"
source = "fixed for tests"
effective = "2026-11-10"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breakeven.toml").write_text(CONFIGURATION)
    return tmp_path / "home"


@pytest.fixture
def ledger(home: Path) -> None:
    counted = TokenCounts(uncached_input=1_000_000, output=100_000)
    house = remote_attempt(provider="house", model_asked="large", model_served=None, tokens=counted)
    home.mkdir()
    store = Store.open(LedgerSettings(), home)
    store.insert(
        [
            call("local", local_attempt(tokens=counted), at=NOVEMBER + 15 * 86_400),
            call("remote", house, at=NOVEMBER + 15 * 86_400),
            call("imported", house, at=NOVEMBER + 86_400, origin="import:csv"),
        ]
    )
    day = UsageBucket("import:openai", "openai", "gpt-6", NOVEMBER, NOVEMBER + 86_400, counted, requests=7)
    store.insert_buckets([day])
    store.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["reprice", *arguments])


@pytest.mark.usefixtures("ledger")
def test_a_month_is_repriced_with_several_models() -> None:
    found = json.loads(
        run("--month", "2026-11", "--as", "acme/large", "--as", "acme/small", "--origin", "all", "--json").stdout
    )
    large, small = found["totals"]

    assert found["calls"] == 3
    assert (large["usd"], large["priced_calls"], large["unknown_calls"]) == ("13.5", 3, 0)
    assert (small["usd"], small["priced_calls"], small["unknown_calls"]) == ("0.70", 2, 1)
    assert large["price_sources"] == [
        {"source": "configuration: fixed for tests", "effective": "2026-01-01", "calls": 3}
    ]
    (aggregate,) = found["aggregates"]
    assert aggregate["targets"][0]["least_usd"] == aggregate["targets"][0]["most_usd"] == "4.5"


@pytest.mark.usefixtures("ledger")
def test_without_a_model_each_remote_call_is_repriced_as_its_own() -> None:
    found = json.loads(run("--month", "2026-11", "--origin", "all", "--json").stdout)

    assert [(row["provider"], row["targets"][0]["usd"]) for row in found["servers"]] == [("house", "9")]


@pytest.mark.usefixtures("ledger")
def test_only_some_days_or_an_origin() -> None:
    days = json.loads(run("--since", "2026-11-16", "--until", "2026-11-16", "--as", "acme/large", "--json").stdout)
    imported = json.loads(run("--month", "2026-11", "--origin", "import:csv", "--as", "acme/large", "--json").stdout)

    assert (days["calls"], imported["calls"]) == (2, 1)


@pytest.mark.usefixtures("ledger")
def test_on_a_terminal_it_shows_billed_repriced_difference_and_sources() -> None:
    shown = run("--month", "2026-11", "--as", "acme/small", "--origin", "all").stdout

    assert "house / large (remote)" in shown
    assert "$0.35" in shown
    assert "Known as sums only" in shown
    assert "configuration: fixed for tests, 2026-11-10" in shown


def test_an_empty_ledger_says_so() -> None:
    assert "No calls from 2026-11-01" in run("--month", "2026-11").stdout
    assert json.loads(run("--month", "2026-11", "--json").stdout)["calls"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--as", "sonnet"), "expected provider/model"),
        (("--as", "acme/none"), "acme/none is unknown"),
        (("--month", "2026-13"), "expected YYYY-MM"),
        (("--month", "2026-11", "--since", "2026-11-01"), "exclude each other"),
        (("--since", "2026-11-05", "--until", "2026-11-01"), "lies before"),
        (("--prices-on", "soon"), "expected a day"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    found = run(*arguments)

    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())
