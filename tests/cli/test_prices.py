import json
from pathlib import Path
from typing import Any

import pytest
from tests.catalog.conftest import published
from tests.fakes.web import as_json, fixed_web

from breakeven.cli.main import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "show") -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["prices", command, *arguments])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_a_row_is_shown_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "claude-sonnet-5-5", "--provider", "anthropic")
    assert code == 0
    assert "cache read" in out
    assert "genai-prices" in out


def test_json_gives_exact_rates(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "claude-haiku-5-5", "--provider", "anthropic", "--json")
    (row,) = json.loads(out)
    assert row["rates"]["input"]["base"] == "0.1"
    assert row["rates"]["input"]["tiers"]


def test_without_a_provider_all_that_list_the_model_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "claude-sonnet-5-5", "--json")
    assert {"anthropic", "google"} <= {row["provider"] for row in json.loads(out)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("claude-sonet-5-5",), "Close to it: claude-sonnet-5-5"),
        (("claude-sonnet-5-5", "--provider", "nobody"), "nobody/claude-sonnet-5-5 is unknown"),
        (("claude-sonnet-5-5", "--on", "yesterday"), "expected a day"),
    ],
)
def test_what_is_not_known_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err.replace("\n", " ")


def cheaper_sonnet() -> list[dict[str, Any]]:
    document = published()
    (anthropic,) = (provider for provider in document if provider["id"] == "anthropic")
    (sonnet,) = (model for model in anthropic["models"] if model["id"] == "claude-sonnet-5-5")
    sonnet["prices"]["input_mtok"] = 1.5
    return document


def test_an_update_is_fetched_used_shown_and_dropped_again(capsys: pytest.CaptureFixture[str]) -> None:
    sonnet = ("claude-sonnet-5-5", "--provider", "anthropic")
    with fixed_web({"/data.json": as_json(cheaper_sonnet())}) as server:
        url = f"{server.url}/data.json"
        code, out, _ = run(capsys, "--url", url, command="update")
    assert code == 0
    assert "anthropic/claude-sonnet-5-5: input $2 → $1.5" in out

    code, out, _ = run(capsys, *sonnet)
    assert code == 0
    assert "against the bundled prices: input $2 → $1.5" in out
    assert f"(0 days old) from {url}" in out

    (row,) = json.loads(run(capsys, *sonnet, "--json")[1])
    assert row["rates"]["input"]["base"] == "1.5"
    assert row["source"].startswith("genai-prices update 20")
    assert (row["data"]["url"], row["data"]["age_days"]) == (url, 0)
    assert row["changed_against_bundled"] == [
        {"model": "anthropic/claude-sonnet-5-5", "token_class": "input", "before": "2", "after": "1.5"}
    ]

    assert "Dropped the update" in run(capsys, command="reset")[1]
    assert "as installed" in run(capsys, *sonnet)[1]


def test_a_file_fetched_elsewhere_does_as_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(cheaper_sonnet()))
    code, out, _ = run(capsys, "--file", str(path), "--json", command="update")

    assert code == 0
    assert json.loads(out)["changed"] == [
        {"model": "anthropic/claude-sonnet-5-5", "token_class": "input", "before": "2", "after": "1.5"}
    ]


def test_a_refused_update_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("<html>not found</html>")
    code, out, err = run(capsys, "--file", str(path), command="update")

    assert (code, out) == (1, "")
    assert "is refused: the price data is a web page, not JSON" in err
    assert "stays in use" in err


def test_a_damaged_update_is_said_beside_the_prices(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    home.mkdir()
    (home / "prices.update").write_text("garbage")
    code, out, err = run(capsys, "claude-sonnet-5-5", "--provider", "anthropic")

    assert code == 0
    assert "genai-prices 0." in out
    assert "cannot be used" in err
