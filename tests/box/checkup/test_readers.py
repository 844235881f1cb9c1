"""Reading the facts from real sockets, files and books."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.fakes.model_servers import OLLAMA_PAGES, VLLM_PAGES, serving
from tests.fakes.web import as_json, fixed_web
from tests.ledger import samples
from typer.testing import CliRunner

from breakeven import config
from breakeven.box.checkup.facts import BackendFacts, GatewayFacts
from breakeven.box.checkup.read_backends import read_backends, read_gateway
from breakeven.box.checkup.read_files import read_safety, secrets_in
from breakeven.box.checkup.read_ledger import of_calls, read_ledger
from breakeven.box.checkup.read_machine import read_machine
from breakeven.box.heat import card_throttling, thermal_zones
from breakeven.box.ollama import seconds_left
from breakeven.cli.main import build
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.database import FILE_NAME
from breakeven.ledger.store import Store

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def ollama(*, kept: timedelta = timedelta(minutes=5)) -> dict[str, Any]:
    """Pages of an Ollama that drops its model so long after a call."""
    until = (datetime.now(UTC) + kept).isoformat().replace("+00:00", "123Z")  # nanoseconds, as Go writes them
    row = {
        "name": "llama3.3:70b",
        "model": "llama3.3:70b",
        "size": 60_000_000_000,
        "size_vram": 45_000_000_000,
        "context_length": 4096,
        "expires_at": until,
    }
    return OLLAMA_PAGES | {"/api/ps": {"models": [row]}}


def backend(url: str, *, probe: bool = True, longest_prompt: int | None = None) -> BackendFacts:
    settings = config.parse({"providers": {"house": {"base_url": f"{url}/v1"}}})
    (facts,) = asyncio.run(read_backends(settings, longest_prompt, probe=probe))
    return facts


def test_an_ollama_that_cuts_prompts_off_is_caught_by_the_probe() -> None:
    with serving("ollama", pages=ollama(), longest=4096) as server:
        facts = backend(server.url)
    assert facts.probe is not None
    assert facts.probe.read_tokens == 4096
    assert facts.probe.sent_tokens == pytest.approx(5000, rel=0.01)


def test_the_probe_is_as_long_as_the_longest_real_prompt() -> None:
    with serving("ollama", pages=ollama()) as server:
        facts = backend(server.url, longest_prompt=900)
    assert facts.probe is not None
    assert facts.probe.read_tokens == facts.probe.sent_tokens == pytest.approx(900, abs=3)


def test_what_ollama_says_of_a_loaded_model_is_read() -> None:
    with serving("ollama", pages=ollama()) as server:
        facts = backend(server.url)
    assert (facts.version, facts.model, facts.loaded, facts.context) == ("0.12.6", "llama3.3:70b", True, 4096)
    assert (facts.size_bytes, facts.on_gpu_bytes) == (60_000_000_000, 45_000_000_000)
    assert facts.keep_alive == pytest.approx(300, abs=5)


def test_without_a_probe_no_prompt_is_sent_and_how_long_a_model_is_kept_is_unknown() -> None:
    with serving("ollama", pages=ollama()) as server:
        assert backend(server.url, probe=False).keep_alive is None
        assert server.asked == []
    with serving("ollama", pages=ollama(kept=timedelta(days=100_000))) as server:
        assert backend(server.url, probe=False).keep_alive == inf


def test_a_probe_that_the_server_refuses_is_a_fact() -> None:
    with serving("ollama", pages=ollama(), broken=True) as server:
        facts = backend(server.url)
    assert facts.probe_error is not None
    assert "out of memory" in facts.probe_error


def test_servers_that_refuse_what_does_not_fit_are_not_probed() -> None:
    with serving("vllm", pages=VLLM_PAGES) as server:
        facts = backend(server.url)
        assert server.asked == []
    assert (facts.kind, facts.context, facts.probe) == ("vllm", 4096, None)


@pytest.mark.parametrize(
    ("expires_at", "seconds"),
    [
        ("2026-11-24T10:05:00.123456789Z", 300),
        ("2026-11-24T12:05:00+02:00", 300),
        ("2026-11-24T09:00:00Z", 0),
        ("2318-03-05T10:00:00.5Z", inf),
        ("soon", None),
        ("2026-11-24T10:05:00", None),
        (None, None),
    ],
)
def test_ollamas_times_are_read_as_go_writes_them(expires_at: str | None, seconds: float | None) -> None:
    assert seconds_left(expires_at, NOW) == seconds


def gateway(port: int) -> GatewayFacts:
    return asyncio.run(read_gateway(config.parse({"gateway": {"port": port}})))


def test_a_gateway_is_told_from_another_program_and_from_none() -> None:
    with fixed_web({"/ready": as_json({"ready": True, "checks": {"ledger": "ok"}})}) as web:
        assert gateway(web.port) == GatewayFacts(f"127.0.0.1:{web.port}", True, True, {"ledger": "ok"})
    with fixed_web({"/ready": as_json({"status": "up"})}) as web:
        assert gateway(web.port) == GatewayFacts(f"127.0.0.1:{web.port}", True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert gateway(port) == GatewayFacts(f"127.0.0.1:{port}", False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sk-ant-" + "a1" * 20, "an API key (sk-…)"),
        ("# hf_" + "a" * 34, "a Hugging Face token"),
        ("AKIAABCDEFGHIJKLMNOP", "an AWS key"),
        ('url = "postgresql://desk:hunter2@db/ledger"', "a password in a URL"),
        ('  Key = "correct-horse-battery"', "a key written out"),
    ],
)
def test_what_looks_like_a_secret_is_found_by_kind(text: str, kind: str) -> None:
    assert kind in secrets_in(text)


@pytest.mark.parametrize(
    "text",
    ['key = "env:OPENAI_API_KEY"', 'key = "keychain:breakeven/openai"', "task-sk-short", 'model = "llama-3.3-70b"',
     'base_url = "http://127.0.0.1:11434/v1"', 'url = "postgresql+psycopg://desk@db/ledger"'],
)  # fmt: skip
def test_references_and_names_are_no_secrets(text: str) -> None:
    assert secrets_in(text) == ()


def test_who_may_read_and_change_the_file_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "breakeven.toml"
    file.write_text("[gateway]\nport = 4141\n")
    file.chmod(0o600)
    private = read_safety(file, ())
    file.chmod(0o666)
    open_to_all = read_safety(file, ())
    assert (private.others_may_read, private.others_may_write) == (False, False)
    assert (open_to_all.others_may_read, open_to_all.others_may_write) == (True, True)


def zone(root: Path, number: int, name: str, temperature: int, **trips: int) -> None:
    folder = root / f"thermal_zone{number}"
    folder.mkdir()
    (folder / "type").write_text(f"{name}\n")
    (folder / "temp").write_text(f"{temperature}\n")
    for point, (kind, limit) in enumerate(trips.items()):
        (folder / f"trip_point_{point}_type").write_text(f"{kind}\n")
        (folder / f"trip_point_{point}_temp").write_text(f"{limit}\n")


def test_linux_sensors_are_read_with_the_temperature_at_which_they_slow_the_system(tmp_path: Path) -> None:
    zone(tmp_path, 0, "x86_pkg_temp", 61_000, critical=105_000, passive=95_000, hot=100_000)
    zone(tmp_path, 1, "acpitz", 27_800, critical=119_000)
    zone(tmp_path, 2, "iwlwifi", -1)
    found = [(one.name, one.celsius, one.limit_celsius) for one in thermal_zones(tmp_path)]
    assert found == [("x86_pkg_temp", 61.0, 95.0), ("acpitz", 27.8, None)]


def test_cards_say_what_holds_them_back() -> None:
    reasons = {0: 0x01, 1: 0x24}  # idle; heat and the power limit
    nvml = SimpleNamespace(
        nvmlDeviceGetCount=lambda: len(reasons),
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetCurrentClocksThrottleReasons=reasons.__getitem__,
    )
    assert card_throttling(nvml) == ("card 1 is held back by its power limit and heat",)


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    facts = read_machine(config.BoxSettings(power_meter="modelled"), tmp_path / "not" / "there", watched=0.01)
    assert facts.now == pytest.approx(time.time(), abs=60)
    assert facts.disk_free_bytes
    assert facts.meter is None


def agent_call(name: str, at: float, **tokens: int) -> Any:
    attempt = samples.local_attempt(
        tokens=TokenCounts(**{"uncached_input": 200, "cache_read": 1800, "output": 50} | tokens)
    )
    return samples.call(f"{name}-{at}", attempt, at=at, agent=name)


def test_agents_wake_when_they_were_silent_for_a_while() -> None:
    wakes = [samples.NOVEMBER + 360 * wake + step for wake in range(5) for step in (0, 6, 15, 30)]
    facts = of_calls([agent_call("triage", at) for at in wakes])
    (agent,) = facts.agents
    assert (agent.name, agent.calls, agent.period) == ("triage", 20, 360)
    assert (facts.prompt_tokens, facts.cached_tokens, facts.longest_prompt) == (40_000, 36_000, 2000)
    assert facts.timings[0].computed_tokens == 200


def test_where_no_server_says_what_was_cached_it_is_unknown() -> None:
    attempt = samples.local_attempt(tokens=TokenCounts(uncached_input=10, output=1), counted_by="provider")
    assert of_calls([samples.call("a", attempt)]).cached_tokens is None


def test_books_are_read_whole_and_none_are_begun(tmp_path: Path) -> None:
    assert not read_ledger(config.LedgerSettings(), tmp_path, samples.NOVEMBER).exists
    assert list(tmp_path.iterdir()) == []
    store = Store.open(config.LedgerSettings(), tmp_path)
    store.insert([agent_call("triage", samples.NOVEMBER - 60), samples.call("remote", samples.remote_attempt())])
    store.close()
    facts = read_ledger(config.LedgerSettings(), tmp_path, samples.NOVEMBER)
    assert (facts.problems, facts.error, facts.calls) == ((), None, 1)


def test_books_that_were_tampered_with_are_noticed(tmp_path: Path) -> None:
    store = Store.open(config.LedgerSettings(), tmp_path)
    store.insert([samples.call("one", samples.local_attempt()), samples.call("two", samples.local_attempt())])
    store.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE_NAME}")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM calls WHERE id = 'one'"))
    engine.dispose()
    facts = read_ledger(config.LedgerSettings(), tmp_path, samples.NOVEMBER)
    assert any("1 calls are kept and 2 were added up" in problem for problem in facts.problems)


def test_books_that_are_no_database_are_an_error_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("shopping list\n" * 200)
    assert "cannot be read" in (read_ledger(config.LedgerSettings(), tmp_path, samples.NOVEMBER).error or "")


def doctor(home: Path, document: str, *options: str) -> tuple[int, dict[str, Any]]:
    file = home / "breakeven.toml"
    file.write_text(document)
    done = CliRunner().invoke(build(), ["doctor", "--json", "--config", str(file), *options])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_names_planted_faults_and_fails(home: Path) -> None:
    now = time.time()
    store = Store.open(config.LedgerSettings(), home)
    store.insert([agent_call("triage", now - 360 * wake) for wake in range(1, 8)])
    store.close()
    with serving("ollama", pages=ollama(), longest=4096) as server:
        port = server.url.rpartition(":")[2]
        code, said = doctor(
            home, f'[gateway]\nport = {port}\n[providers.house]\nbase_url = "{server.url}/v1"\n# sk-{"a" * 30}\n'
        )
    reds = {finding["check"]: finding for finding in said["findings"] if finding["status"] == "red"}
    assert (code, said["healthy"]) == (1, False)
    assert set(reds) == {"gateway", "keep-alive", "secrets"}
    assert "your 6-minute agents reload" in reds["keep-alive"]["says"]
    assert all(finding["remedy"] for finding in reds.values())


def test_a_configuration_that_cannot_be_used_is_a_finding_not_the_end(home: Path) -> None:
    code, said = doctor(home, "[gateway]\nport = 'x'\n", "--no-probe")
    first = said["findings"][0]
    assert code == 1
    assert (first["check"], first["status"]) == ("configuration", "red")
    assert "gateway.port" in first["says"]


def test_the_page_fits_a_narrow_terminal(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "breakeven.toml").write_text(f"[gateway]\nport = {port}\n[engine]\nmodel = 'demo'\n")
    done = CliRunner().invoke(build(), ["doctor", "--no-probe"], env={"COLUMNS": "60"})
    assert done.exit_code == 0, done.output
    assert "power meter" in done.stdout
    assert "box.machine" in done.stdout
