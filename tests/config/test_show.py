"""What `breakeven config` says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from breakeven import config
from breakeven.cli.main import main
from breakeven.config.check import doubts
from breakeven.config.show import json_schema, toml

ROOT = Path(__file__).parents[2]
FILE = """
[ledger]
url = "postgresql+psycopg://me:hunter2@db.example/books"

[providers.claude]
profile = "anthropic"
retention_days = 30

[providers.far]
base_url = "http://user:hunter2@far.example/v1"
key = "env:FAR"

[models.frontier]
provider = "claude"
model = "claude-sonnet-5-5"

[tasks."my extract"]
models = ["local", "frontier", "medium"]
deadline_seconds = 20
max_usd_per_call = 0.02

[tasks."my extract".gates]
matches = ['^\\{"', 'Grüße']

[tasks."my extract".gates.json_schema]
type = "object"
required = ["a"]
"""


def breakeven(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "breakeven.toml"
    written.write_text(FILE, encoding="utf-8")
    return written


@pytest.mark.parametrize("defaults", [False, True])
def test_what_is_shown_reads_back_as_the_same_settings_and_shows_no_password(file: Path, defaults: bool) -> None:
    settings = config.load(file, {})

    shown = toml(settings, defaults=defaults)

    assert "hunter2" not in shown
    read_back = config.parse(tomllib.loads(shown.replace("…", "hunter2")))
    assert read_back == settings


def test_what_is_assumed_of_a_provider_is_said(file: Path) -> None:
    shown = toml(config.load(file, {}))

    assert "keeps what it is sent for 30 days; assumed to train on it" in shown
    assert "assumed to keep what it is sent; assumed to train on it; what its calls cost is unknown" in shown


def test_what_is_doubtful_is_found_without_being_an_error(file: Path) -> None:
    found = "\n".join(doubts(config.load(file, {}), {"FAR": "sk-far-far-away"}))

    assert "ANTHROPIC_API_KEY is not set" in found
    assert "providers.far.base_url: its key is sent without encryption" in found
    assert "providers.far: no entry in [models] uses it" in found
    assert "tasks.my extract.models: 'medium' is not in [models]" in found
    assert "nothing labels data shareable: calls reach frontier only" in found
    assert "sk-far" not in found


def test_the_defaults_are_not_doubtful() -> None:
    assert list(doubts(config.parse({}), {})) == []


def test_check_says_valid_or_names_the_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert breakeven("config", "check", "--config", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    file.write_text("[gateway]\nport = -1")
    assert breakeven("config", "check", "--config", str(file)) == 2
    assert "gateway.port" in capsys.readouterr().err


def test_check_looks_for_the_functions_that_gates_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("[tasks.t.gates]\ncheck = 'no_such_module_here:f'")
    assert breakeven("config", "check", "--config", str(file)) == 2
    assert "no_such_module_here" in capsys.readouterr().err


def test_show_prints_the_file_and_what_is_assumed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert breakeven("config", "show", "--config", str(file)) == 0
    assert "[providers.claude]" in capsys.readouterr().out
    assert breakeven("config", "show", "--config", str(file), "--json", "--all") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["policy"]["default_data"] == "local_only"
    assert shown["providers"]["claude"][0] == "its calls leave your machines"


def test_the_schema_for_editors_is_in_step_and_accepts_what_is_valid(file: Path) -> None:
    shipped = json.loads((ROOT / "docs" / "breakeven.schema.json").read_text(encoding="utf-8"))

    assert shipped == json_schema(), "run: breakeven config schema > docs/breakeven.schema.json"
    jsonschema.Draft202012Validator.check_schema(shipped)
    jsonschema.validate(tomllib.loads(FILE), shipped)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"providers": {"p": {"profil": "openai"}}}, shipped)
