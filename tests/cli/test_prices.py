import json

import pytest

from breakeven.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["prices", "show", *arguments])
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
