"""``breakeven import``, ``export`` and what the statement says of imports."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.importers.conftest import FILES
from tests.ledger.samples import NOVEMBER, call
from typer.testing import CliRunner, Result

from breakeven.cli.main import build
from breakeven.config import LedgerSettings
from breakeven.ledger.importers.sources import SOURCES
from breakeven.ledger.importers.table import HEADINGS
from breakeven.ledger.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("BREAKEVEN_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def json_of(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_everything_readable_is_imported_and_the_exit_code_tells_of_the_rest(home: Path) -> None:
    clean = run("import", FILES / "codex", "--billed", "none")
    assert (clean.exit_code, clean.stderr) == (0, "")
    spoilt = run("import", FILES / "litellm.jsonl")
    assert spoilt.exit_code == 3
    assert "litellm.jsonl:6: input_tokens = 100: smaller than the 5000 cached tokens" in spoilt.stderr


def test_who_pays_must_be_said_where_the_logs_do_not(home: Path) -> None:
    refused = run("import", FILES / "codex")
    assert refused.exit_code == 2
    assert "--billed api" in refused.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--find"),
        ([FILES / "absent"], "does not exist"),
        ([FILES / "calls.csv"], "--input-includes-cached"),
        ([FILES / "calls.csv", "--map", "input"], "FIELD=VALUE"),
        ([FILES / "codex", "--format", "teletype"], "claude-code, codex"),
        ([FILES / "litellm.jsonl", "--input-excludes-cached"], "would say nothing"),
        ([FILES / "litellm.jsonl", "--map", "input=x", "--set", "model=y"], "--map, --set would say nothing"),
        ([FILES / "litellm.jsonl", "--billed", "api"], "--billed would say nothing"),
        (["--forget", "gateway"], "import:csv"),
    ],
)
def test_wrong_usage_says_what_to_do(home: Path, arguments: list[object], said: str) -> None:
    refused = run("import", *arguments)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_a_dry_run_reads_everything_and_changes_nothing(home: Path) -> None:
    told = json_of("import", FILES / "codex", "--billed", "api", "--dry-run")
    assert told["dry_run"] is True
    assert [(source["source"], source["new_calls"]) for source in told["sources"]] == [("codex", 4)]
    assert not home.exists()


def test_a_dry_run_tells_what_the_ledger_already_holds(home: Path) -> None:
    run("import", FILES / "codex", "--billed", "api")
    (source,) = json_of("import", FILES / "codex", "--billed", "api", "--dry-run")["sources"]
    assert (source["calls"], source["new_calls"]) == (4, 0)


def test_the_columns_chosen_for_a_csv_are_shown(home: Path) -> None:
    told = run("import", FILES / "calls.csv", "--input-includes-cached", "--set", "provider=openai")
    assert "input=Prompt Tokens" in told.stderr
    assert told.exit_code == 3


def test_the_manuals_example_of_a_csv_works(home: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/import.md").read_text()
    (example,) = re.findall(r"^    breakeven (import usage\.csv .*(?:\n +--.*)*)", page, re.MULTILINE)
    (tmp_path / "usage.csv").write_text("when,tokens_sent,tokens_back\n2026-11-02T05:00:00Z,1000,100\n")
    told = run(*shlex.split(example.replace("\\\n", " ")), "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["sources"][0]["new_calls"] == 1


def test_the_manual_lists_every_source_and_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs/import.md").read_text()
    assert all(f"| `{name}` |" in page for name in SOURCES)
    assert all(f"`{name}`" in page for name in HEADINGS)


def test_an_import_can_be_taken_back(home: Path) -> None:
    run("import", FILES / "codex", "--billed", "api")
    assert json_of("import", "--forget", "import:codex") == {"origin": "import:codex", "removed": 4}
    assert json_of("statement", "--month", "2026-11")["imported"] == []


def test_logs_on_this_machine_are_found(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.delenv("CODEX_HOME", raising=False)
    assert "No logs" in run("import", "--find").stdout
    (tmp_path / ".claude/projects").mkdir(parents=True)
    (tmp_path / ".claude/projects/a.jsonl").write_text("{}\n")
    assert json_of("import", "--find") == [
        {"source": "claude-code", "folder": str(tmp_path / ".claude/projects"), "files": 1, "bytes": 3}
    ]
    assert "--billed" in run("import", "--find").stdout


def test_the_statement_keeps_imports_apart_from_the_box(home: Path) -> None:
    home.mkdir()
    store = Store.open(LedgerSettings(), home)
    store.insert([call("own", at=NOVEMBER)])
    store.close()
    before = json_of("statement", "--month", "2026-11")
    run("import", FILES, "--billed", "none")
    after = json_of("statement", "--month", "2026-11")
    imported = {source["origin"]: source["usage"] for source in after.pop("imported")}
    assert before.pop("imported") == []
    assert after == before
    assert imported["import:ollama"]["calls"] == 4
    assert imported["import:openai-usage"]["calls"] == 421
    assert imported["import:anthropic-cost"]["billed"] == {"least": "1.2578912", "most": "1.2578912", "unknown": 0}
    assert imported["import:codex"]["billed"]["most"] == "0"


def test_the_statement_shows_a_source_in_detail(home: Path) -> None:
    run("import", FILES, "--billed", "none")
    overview = run("statement", "--month", "2026-11").stdout
    assert "nothing is added up across them" in overview
    assert "claude-code: paid for by a subscription" in overview
    detail = run("statement", "--month", "2026-11", "--origin", "import:claude-code").stdout
    assert "claude-sonnet-4-5" in detail
    assert "counterfactual: anthropic/claude-sonnet-4-5 at genai-prices" in detail
    assert "litellm" not in detail


def test_a_month_without_calls_still_says_so(home: Path) -> None:
    run("import", FILES / "codex", "--billed", "api")
    assert "from 2026-11-02 to 2026-11-02" in run("statement", "--month", "2026-10").stdout


def test_an_export_goes_into_another_ledger_and_into_a_plan(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", FILES / "codex", FILES / "openrouter-daily.csv", "--billed", "api")
    told = run("export", "--month", "2026-11", "--output", tmp_path / "export.jsonl")
    assert "6 records written" in told.stderr
    assert len(run("export", "--origin", "import:codex").stdout.splitlines()) == 4
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "another"))
    (source,) = json_of("import", tmp_path / "export.jsonl")["sources"]
    assert (source["new_calls"], source["new_buckets"]) == (4, 2)
    (tmp_path / "trace.jsonl").write_bytes(run("export", "--origin", "import:codex").stdout_bytes)
    planned = run("plan", "--trace", tmp_path / "trace.jsonl", "--json")
    assert planned.exit_code == 0, planned.stderr


def test_a_folder_without_a_known_source_is_an_error_that_names_the_remedy(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"remember": "the milk"}\n')
    for flags in ([], ["--billed", "none"]):
        found = run("import", folder, *flags)
        assert found.exit_code == 2
        assert "no file there is of a known source (1 looked at). Name it with --format" in " ".join(
            found.stderr.split()
        )
