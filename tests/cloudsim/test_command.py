"""The command: the addresses it prints work, its flags limit and break, and it adds up when it stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import openai
import pytest
from tests.fakes import child, cloud

from breakeven.cli.main import main
from breakeven.cloudsim.faults import KINDS

COMMAND = [sys.executable, "-m", "breakeven", "simulate-cloud", "--port", "0", "--json"]


def test_it_serves_limits_and_adds_up() -> None:
    flags = ["--provider", "openai", "--tier", "1", "--rpm", "2", "--first-token", "0", "--tokens-per-second", "0"]
    with child.running([*COMMAND, *flags], stdout=subprocess.PIPE) as simulation:
        announced = json.loads(child.line_of(simulation, simulation.stdout))
        assert announced["limits"] == "OpenAI tier 1, GPT-5 class, changed"
        with openai.OpenAI(base_url=announced["openai"], api_key="any", max_retries=0) as client:
            asked = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hello there."}]}
            usages = [client.chat.completions.create(**asked).usage for _ in range(2)]
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**asked)
        simulation.send_signal(signal.SIGTERM)
        printed, _ = simulation.communicate(timeout=child.PATIENCE_SECONDS)
    counted = json.loads(printed)
    assert simulation.returncode == 0
    assert counted["by_status"] == {"200": 2, "429": 1}
    assert counted["output_tokens"] == sum(usage.completion_tokens for usage in usages)
    assert Decimal(counted["micro_usd"]) > 0


def test_faults_come_as_often_as_asked() -> None:
    with (
        cloud.process("--faults", "503=1") as sim,
        openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": "x"}])
        assert sim.seen()["by_fault"] == {"503": 1}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tier", "9"], "tier 9 of 'openai'"),
        (["--provider", "nobody"], "expected openai or anthropic"),
        (["--faults", "429"], "FAULT=CHANCE"),
        (["--faults", "fire=0.1"], "'fire'"),
        (["--faults", "429=0.7,500=0.7"], "at most 1"),
    ],
)
def test_nonsense_is_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate-cloud", "--port", "0", *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_page_names_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulate-cloud.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}" not in page] == []
