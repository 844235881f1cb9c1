"""`breakeven explain` prints a plan and sends nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from breakeven.cli.main import main
from breakeven.config import parse
from breakeven.routing.outline import outline

CONFIG = """
[gateway]
port = 1

[engine]

[providers.claude]
profile = "anthropic"

[models.frontier]
provider = "claude"
model = "claude-sonnet-5-5"

[tasks.dear]
max_usd_per_call = 0.000001
"""
REQUEST = {"model": "task:extract", "max_tokens": 200, "messages": [{"role": "user", "content": "Extract the city."}]}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("breakeven.toml").write_text(CONFIG)
    Path("request.json").write_text(json.dumps(REQUEST))


def explain(capsys: pytest.CaptureFixture[str], *arguments: str, request: str = "request.json") -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["explain", request, *arguments])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_the_box_comes_first_and_what_is_not_tried_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explain(capsys)

    assert code == 0
    assert "1. local → engine/demo, on this machine" in out
    assert "frontier is not tried (data): claude is outside this machine and the data is local_only" in out
    assert "from the configuration alone" in out


def test_a_label_and_a_task_are_taken_as_if_the_call_had_them(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = explain(capsys, "--label", "shareable", "--json")
    plan = json.loads(out)
    assert [one["alias"] for one in plan["attempts"]] == ["local", "frontier"]
    assert plan["live"] is False

    Path("auto.json").write_text(json.dumps({**REQUEST, "model": "auto"}))
    _, out, _ = explain(capsys, "--task", "dear", "--label", "shareable", "--json", request="auto.json")
    assert json.loads(out)["set_aside"][0]["rule"] == "price"


def test_nobody_left_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    Path("frontier.json").write_text(json.dumps({**REQUEST, "model": "frontier"}))

    code, out, _ = explain(capsys, request="frontier.json")

    assert code == 1
    assert "nobody can serve this request" in out


@pytest.mark.parametrize(
    ("arguments", "request_file", "said", "expected"),
    [
        (("--label", "secret"), "request.json", "local_only or shareable", 2),
        ((), "absent.json", "cannot be read", 2),
        (("--gateway", "localhost:1"), "request.json", "expected http", 2),
        (("--gateway", "http://127.0.0.1:1"), "request.json", "no gateway answers", 2),
        ((), "breakeven.toml", "not valid JSON", 1),
    ],
)
def test_what_is_wrong_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], request_file: str, said: str, expected: int
) -> None:
    code, _, err = explain(capsys, *arguments, request=request_file)

    assert code == expected
    assert said in err


@contextmanager
def gateway(status: int, answer: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Something that answers like a gateway, and what it was asked."""
    seen: dict[str, str] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.update({name.lower(): value for name, value in self.headers.items()}, path=self.path)
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_running_gateway_is_asked_with_the_labels_in_headers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-mine")
    plan = {"attempts": [], "set_aside": [], "label": "local_only", "label_source": "the call", "task": "tag"}
    with gateway(200, {**plan, "deadline_seconds": 9.0, "gates": {"not_empty": True}}) as (url, seen):
        code, out, _ = explain(
            capsys, "--gateway", f"{url}/v1", "--task", "tag", "--label", "local_only", "--key", "env:MY_KEY"
        )

    assert code == 1
    assert "within 9 s" in out
    assert "configuration alone" not in out
    asked = {"path": "/admin/explain", "x-breakeven-task": "tag", "x-breakeven-data": "local_only"}
    assert asked.items() <= seen.items()
    assert seen["authorization"] == "Bearer sk-mine"


def test_a_gateway_that_refuses_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    with gateway(401, {"error": {"message": "no API key was given"}}) as (url, _):
        code, _, err = explain(capsys, "--gateway", url)

    assert code == 2
    assert "no API key was given" in err


def test_the_outline_names_every_target_and_the_default_local_model() -> None:
    settings = parse(
        {
            "providers": {
                "box": {"base_url": "http://127.0.0.1:8080/v1"},
                "cloud": {"profile": "openai", "retention_days": 0, "trains_on_data": False},
            },
            "models": {"big": {"provider": "box", "model": "b"}, "frontier": {"provider": "cloud", "model": "f"}},
        }
    )

    states = {state.alias: state for state in outline(settings, lambda provider, model: Decimal("0.5"))}

    assert states["local"].model == "b"
    assert states["frontier"].expected_usd == Decimal("0.5")
    assert (states["frontier"].retains, states["frontier"].trains) == (False, False)
    assert states["big"].expected_usd == 0
