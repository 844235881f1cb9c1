"""``breakeven keys``: a secret shown once, and everything else shown whenever asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from breakeven import config
from breakeven.accounts.key_table import KeyTable, VirtualKey
from breakeven.accounts.keys import digest
from breakeven.cli.main import main
from breakeven.ledger import database


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *arguments])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run


def stored(home: Path) -> dict[bytes, VirtualKey]:
    engine = database.connect(config.LedgerSettings(), home)
    try:
        return KeyTable(engine).load().by_digest
    finally:
        engine.dispose()


def test_a_secret_is_printed_alone_and_its_digest_kept(run: Any, home: Path) -> None:
    code, out, err = run("create", "night", "--label", "agent=triage", "--budget", "$5/day", "--rpm", "10")
    assert code == 0
    key = stored(home)[digest(out.strip())]
    assert (key.name, key.agent, key.budget, key.rpm) == ("night", "triage", "$5/day", 10)
    assert "shown this once" in err


def test_rotating_and_revoking(run: Any, home: Path) -> None:
    first = json.loads(run("create", "night", "--json")[1])["secret"]
    second = json.loads(run("rotate", "night", "--json")[1])["secret"]
    assert first != second
    assert list(stored(home)) == [digest(second)]
    assert run("revoke", "night")[0] == 0
    assert stored(home) == {}
    assert run("revoke", "night")[0] == 2


def test_the_list_has_keys_of_both_kinds_and_no_secret(run: Any, tmp_path: Path) -> None:
    (tmp_path / "breakeven.toml").write_text('[keys.desk]\nsecret = "env:DESK_KEY"\ndata = "local_only"\n')
    secret = run("create", "night", "--expires", "90d", "--tpm", "5000")[1].strip()
    code, out, _ = run("list", "--json")
    night, desk = json.loads(out)
    assert (code, night["name"], night["state"], desk["state"]) == (0, "night", "active", "configured")
    assert secret not in out
    plain = run("list")[1]
    assert "5,000 tpm" in plain
    assert "local_only" in plain


def test_without_keys_it_says_who_may_call(run: Any) -> None:
    assert "everyone on this machine" in run("list")[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "night", "--label", "team=a"], "expected agent=NAME or task=NAME"),
        (["create", "night", "--data", "secret"], "expected local_only or shareable"),
        (["create", "night", "--budget", "5 dollars"], "like $5/day"),
        (["create", "night", "--expires", "soon"], "expected days like 90d"),
        (["create", "night", "--expires", "2020-01-01"], "that has passed"),
        (["create", "desk"], "the configuration has one"),
        (["rotate", "nobody"], "no such key"),
    ],
)
def test_what_is_wrong_is_named(run: Any, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    (tmp_path / "breakeven.toml").write_text('[keys.desk]\nsecret = "env:DESK_KEY"\n')
    code, _, err = run(*arguments)
    assert code == 2
    assert complaint in " ".join(err.split())
