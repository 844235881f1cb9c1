"""What the gateway starts, what it refuses to start, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway, remote
from tests.gateway.test_chat import HELLO, post

from breakeven import config
from breakeven.box.discovery import Found, FoundModel
from breakeven.cli.main import main
from breakeven.config.addresses import is_loopback
from breakeven.errors import ConfigError
from breakeven.gateway.assembly import assemble


def command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


def test_a_server_that_already_runs_here_is_used_and_named(tmp_path: Path, fake: Upstream) -> None:
    models = (
        FoundModel("nomic-embed", embeddings=True),
        FoundModel("cold"),
        FoundModel("ok", context=4096, loaded=True),
    )
    ollama = Found("ollama", fake.url, "0.14", models)

    async def look_around() -> tuple[Found, ...]:
        return (ollama,)

    async def run() -> None:
        async with assemble(config.parse({}), tmp_path, {}, look_around=look_around) as assembly:
            assert assembly.engine is None
            assert any("Found ollama 0.14" in note for note in assembly.notes)
            local = assembly.desk.table.find("local")
            assert (local.model, local.provider.name, local.provider.locality) == ("ok", "ollama", "local")
            assert {route.name for route in assembly.desk.table} == {"local", "nomic-embed", "cold", "ok"}

    asyncio.run(run())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "desk.example"])
def test_a_network_address_demands_a_key(host: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async def run() -> None:
        async with assemble(config.parse({"gateway": {"host": host}}), tmp_path, {}):
            raise AssertionError("opened without a key")

    with pytest.raises(ConfigError, match=r"gateway\.host"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("a.example", False)],
)
def test_loopback_is_what_stays_on_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_calls_are_refused_in_the_same_shape_when_they_cannot_be_booked(
    serve: Callable[..., RunningGateway], fake: Upstream
) -> None:
    gateway = serve(remote(fake))
    gateway.ledger.close()
    body: Any = json.dumps({"model": "ok", "messages": HELLO}).encode()
    status, headers, answer = post(gateway, "/v1/chat/completions", body)
    assert (status, answer["error"]["code"], headers["retry-after"]) == (503, "ledger_unavailable", "1")
    assert fake.seen.paths == []


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, said = command(["serve", "--port", str(port)], capsys)
    assert code == 2
    assert f"gateway.port = {port}" in said
    assert "--port" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--config", "absent.toml"], "absent.toml does not exist"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], "gateway.host"),
        (["statement", "--month", "2026-13"], "2026-13"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, line = command(arguments, capsys)
    assert code == 2
    assert said in line
    assert "Traceback" not in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_fault_of_the_gateway_itself_is_answered_and_booked(
    serve: Callable[..., RunningGateway], fake: Upstream, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    gateway = serve(remote(fake))
    monkeypatch.setattr("breakeven.providers.http.HttpProvider.send", broken)
    body = json.dumps({"model": "ok", "messages": HELLO, "input": "x"}).encode()
    status, _, answer = post(gateway, path, body)
    assert status == 500
    assert "fault" in answer["error"]["message"]
    assert gateway.calls()[0].attempts[0].error == "gateway_fault"


def test_a_gateway_starts_without_what_only_plans_and_statements_need() -> None:
    program = "import sys, breakeven.cli.serve, breakeven.gateway.assembly; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
