"""``breakeven models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.box.gguf_files import gguf
from typer.testing import CliRunner, Result

from breakeven.box.models import ModelFile
from breakeven.cli.main import build


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), ["models", *arguments])


def own_model(folder: Path) -> Path:
    path = folder / "own.gguf"
    path.write_bytes(gguf())
    return path


def test_a_pulled_file_is_listed_with_what_it_says_of_itself(tmp_path: Path) -> None:
    path = own_model(tmp_path)
    pulled = run("pull", str(path), "--json")
    listed = run("list", "--json")
    assert (pulled.exit_code, listed.exit_code) == (0, 0)
    (record,) = json.loads(listed.stdout)["models"]
    assert record == json.loads(pulled.stdout)
    assert (record["name"], record["quantisation"], record["context"]) == ("own", "Q4_K_M", 4096)
    assert (record["path"], record["kv_bytes_per_token"], record["license"]) == (str(path), 128, "mit")


def test_the_table_shows_names_and_says_where_to_begin(tmp_path: Path) -> None:
    assert "breakeven models pull demo" in run("list").stdout
    assert "breakeven serve --model mine" in run("pull", str(own_model(tmp_path)), "--name", "mine").stdout
    assert "mine" in run("list").stdout


def test_a_file_that_is_gone_is_listed_with_its_problem(tmp_path: Path) -> None:
    path = own_model(tmp_path)
    run("pull", str(path))
    path.unlink()
    (record,) = json.loads(run("list", "--json").stdout)["models"]
    assert "cannot be read: No such file" in record["problem"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "nowhere.gguf"),
        ("pull", "nonsense"),
        ("pull", "demo", "--name", "other"),
        ("pull", "../own.gguf", "--name", "../x"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.engine
def test_the_demo_model_is_labelled_wherever_it_appears(demo_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKEVEN_HOME", str(demo_model.path.parent.parent))
    (record,) = json.loads(run("list", "--json").stdout)["models"]
    assert record["note"] == "plumbing, not quality"
    assert "plumbing" in run("list").stdout
