"""``breakeven plan --from-ledger`` and ``--from``: from a real ledger, and from real exports of others."""

import json
from pathlib import Path

import pytest
from tests.ledger.samples import DAY, NOVEMBER, call, remote_attempt
from typer.testing import CliRunner, Result

from breakeven.cli.main import build
from breakeven.config import LedgerSettings
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.store import Store

CONFIGURATION = """
[box]
machine = "m3-ultra-256"

[prices."anthropic/claude-sonnet-5-5"]
input = "2"
output = "10"
cache_read = "0.1"
source = "fixed for tests"
effective = "2026-01-01"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breakeven.toml").write_text(CONFIGURATION)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def ledger(home: Path) -> None:
    counted = TokenCounts(uncached_input=1000, cache_read=4000, output=200)
    store = Store.open(LedgerSettings(), home)
    store.insert([call(f"{n}", remote_attempt(tokens=counted), at=NOVEMBER + n * DAY / 20) for n in range(200)])
    store.insert([call("imported", remote_attempt(tokens=counted), at=NOVEMBER, origin="import:csv")])
    store.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["plan", *arguments], env={"COLUMNS": "160"})


@pytest.mark.usefixtures("ledger")
def test_the_ledger_is_planned_on_as_it_came() -> None:
    found = json.loads(run("--from-ledger", "--origin", "all", "--json").stdout)

    assert found["trace"]["requests"] == 201
    assert found["clouds"][0]["usd_trace"] == "0.8844"
    assert found["plan"]["verdict"]["kind"] == "cloud_wins"
    assert found["plan"]["rivals"][0]["local_wins"]["tokens_monthly"]


@pytest.mark.usefixtures("ledger")
def test_only_some_of_it() -> None:
    first_days = json.loads(run("--from-ledger", "--since", "2026-11-01", "--until", "2026-11-02", "--json").stdout)
    imported = json.loads(run("--from-ledger", "--origin", "import:csv", "--json").stdout)

    assert (first_days["trace"]["requests"], imported["trace"]["requests"]) == (40, 1)
    assert first_days["trace"]["span_seconds"] == 2 * DAY
    assert imported["plan"]["verdict"]["kind"] == "not_enough_evidence"


def test_sources_that_may_tell_of_the_same_calls_are_not_added_up_unasked(home: Path) -> None:
    store = Store.open(LedgerSettings(), home)
    for origin in ("import:codex", "import:csv"):
        store.insert([call(f"{origin} {n}", remote_attempt(), at=NOVEMBER + n, origin=origin) for n in range(3)])
    store.close()
    refused = run("--from-ledger")
    assert refused.exit_code == 2
    assert "may tell of the same calls: import:codex, import:csv" in " ".join(refused.stderr.split())

    store = Store.open(LedgerSettings(), home)
    store.insert([call("own", remote_attempt(), at=NOVEMBER)])
    store.close()
    own = run("--from-ledger", "--json")
    assert json.loads(own.stdout)["trace"]["requests"] == 1
    assert "Only calls of the gateway count" in own.stderr
    assert json.loads(run("--from-ledger", "--origin", "all", "--json").stdout)["trace"]["requests"] == 7


@pytest.mark.usefixtures("ledger")
def test_on_a_terminal_the_verdict_comes_first_then_what_was_counted() -> None:
    shown = run("--from-ledger").stdout

    assert "cloud wins" in shown.splitlines()[0]
    assert shown.index("Counted") < shown.index("In the cloud, priced") < shown.index("Load")
    assert "counted: the ledger" in shown


@pytest.mark.usefixtures("ledger")
def test_without_a_machine_several_are_compared(home: Path) -> None:
    Path("breakeven.toml").write_text("")
    found = run("--from-ledger")

    assert found.exit_code == 0
    assert "M4 Max" in found.stdout
    assert "--machine" in found.stdout
    assert run("--from-ledger", "--plot", str(home / "a.svg")).exit_code == 2


@pytest.mark.usefixtures("ledger")
def test_a_picture_is_drawn(home: Path) -> None:
    path = home / "plan.svg"

    assert run("--from-ledger", "--plot", str(path)).exit_code == 0
    assert path.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from-ledger",), "no calls to plan on"),
        (("--from-ledger", "--input-tokens", "5"), "nothing beside --from-ledger"),
        (("--from-ledger", "--trace", "t.csv"), "nothing beside --trace"),
        (("--from-ledger", "--from", "t.csv"), "nothing beside --from-ledger"),
        (("--from", "missing.jsonl"), "does not exist"),
        (("--from", "breakeven.toml"), "of no known source"),
        (("--from-ledger", "--simple"), "nothing beside --simple"),
        (("--trace", "t.csv", "--requests-per-day", "5"), "nothing beside --trace"),
        (("--preset", "seed-agents", "--month", "2026-11"), "nothing without --from-ledger"),
        (("--from-ledger", "--month", "November"), "expected YYYY-MM"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    found = run(*arguments)

    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())


FILES = Path(__file__).parents[1] / "ledger" / "importers" / "files"


@pytest.mark.parametrize(
    "name", ["codex", "claude", "litellm.csv", "ollama.jsonl", "openrouter-generations.csv", "otel.jsonl"]
)
def test_files_with_single_calls_are_replayed_and_not_kept(home: Path, name: str) -> None:
    found = json.loads(run("--from", str(FILES / name), "--json").stdout)

    assert found["trace"]["requests"] > 0
    assert found["plan"]["verdict"]["kind"] == "not_enough_evidence"
    assert float(found["clouds"][0]["usd_trace"]) > 0
    assert not (home / "ledger.sqlite3").exists()


@pytest.mark.parametrize("name", ["openai-usage.json", "anthropic-usage.json", "openrouter-daily.csv"])
def test_reports_of_sums_are_planned_on_within_a_range(name: str) -> None:
    found = json.loads(run("--from", str(FILES / name), "--json").stdout)

    assert found["sums"]["buckets"] > 0
    assert float(found["clouds"][1]["usd_least"]) <= float(found["clouds"][1]["usd_trace"])
    assert any("sums only" in caveat for caveat in found["plan"]["verdict"]["caveats"])


def test_several_files_are_one_volume() -> None:
    both = json.loads(run("--from", str(FILES / "codex"), "--from", str(FILES / "litellm.csv"), "--json").stdout)
    each = [json.loads(run("--from", str(FILES / name), "--json").stdout) for name in ("codex", "litellm.csv")]

    assert both["trace"]["requests"] == sum(found["trace"]["requests"] for found in each)


def test_a_table_that_needs_more_words_is_sent_to_import() -> None:
    found = run("--from", str(FILES / "calls.csv"))

    assert found.exit_code == 2
    assert "--from-ledger --origin import:csv" in " ".join(found.stderr.split())
