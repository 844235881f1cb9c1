"""Each fault is named with its cause and its remedy, and a healthy machine has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.box.checkup.healthy import HEALTHY, NOW, OLLAMA, timings, with_backend, with_part

from breakeven.box.checkup.examine import examine
from breakeven.box.checkup.facts import (
    AgentFacts,
    BackendFacts,
    Facts,
    FitFacts,
    GatewayFacts,
    LedgerFacts,
    Listener,
    MachineFacts,
    Probe,
)
from breakeven.box.checkup.finding import Finding, Status
from breakeven.box.heat import ThermalZone


def finding(facts: Facts, check: str) -> Finding:
    (found,) = [one for one in examine(facts) if one.check == check]
    return found


def test_on_a_healthy_machine_everything_is_green() -> None:
    findings = examine(HEALTHY)
    assert [one for one in findings if one.status is not Status.GREEN] == []
    assert len(findings) == 19


FAULTS = {
    "an unusable key": (
        with_part("safety", config_error="gateway.port = 'x': expected a number"),
        ("configuration", Status.RED, "gateway.port", "Mend that key"),
    ),
    "another program on the port": (
        replace(HEALTHY, gateway=GatewayFacts("127.0.0.1:4141", listening=True)),
        ("gateway", Status.RED, "another program holds 127.0.0.1:4141", "gateway.port"),
    ),
    "an engine that restarts": (
        with_part("gateway", ready=False, checks={"ledger": "ok", "engine": "restarting: was killed by SIGKILL"}),
        ("engine", Status.RED, "is restarting: was killed by SIGKILL", "engine.log"),
    ),
    "books that are behind": (
        with_part("gateway", checks={"ledger": "degraded: database is locked", "engine": "ready"}),
        ("gateway", Status.AMBER, "database is locked", "log"),
    ),
    "nobody to answer": (
        replace(HEALTHY, backends=(), engine_wanted=False),
        ("backend", Status.RED, "no model server answers", "breakeven serve --model demo"),
    ),
    "a server without a model": (
        replace(HEALTHY, backends=(BackendFacts("ollama", "http://127.0.0.1:11434/v1", "0.12.6"),)),
        ("backend", Status.RED, "has no model", "Pull one"),
    ),
    "a model that was dropped": (
        with_backend(loaded=False),
        ("model resident", Status.AMBER, "is not loaded", "OLLAMA_KEEP_ALIVE"),
    ),
    "half a model on the CPU": (
        with_backend(on_gpu_bytes=30_000_000_000),
        ("model on GPU", Status.AMBER, "50% of llama3.3:70b (27.9 GiB)", "breakeven models fit"),
    ),
    "prompts cut off without a word": (
        with_backend(probe=Probe(160_689, 16_387)),
        ("context", Status.RED, "read 16,387 of 160,689 tokens sent", "num_ctx"),
    ),
    "prompts longer than the context": (
        with_backend(probe=None, context=4096),
        ("context", Status.RED, "4,096 tokens and prompts of 6,000", "num_ctx"),
    ),
    "a probe that fails": (
        with_backend(probe=None, probe_error="answered 500: out of memory"),
        ("context", Status.RED, "out of memory", "log"),
    ),
    "six-minute agents and a five-minute model": (
        replace(
            with_backend(keep_alive=300.0),
            ledger=replace(HEALTHY.ledger, agents=(AgentFacts("triage", 900, 360.0, 9_000, 8_500),)),
        ),
        ("keep-alive", Status.RED, "your 6-minute agents reload a 5-minute model up to 240 times a day", "24h"),
    ),
    "a model too large": (
        replace(HEALTHY, fit=FitFacts("big", False, "big: does not fit", "Lower engine.context")),
        ("memory fit", Status.RED, "does not fit", "engine.context"),
    ),
    "neighbours": (
        replace(
            with_part("machine", cpu_share=0.6),
            ledger=replace(
                HEALTHY.ledger, timings=timings(NOW - 86_400, NOW - 3600) + timings(NOW - 3600, NOW, slower=2)
            ),
        ),
        ("speed", Status.AMBER, "2.0 × as long as usual", "engine.threads"),
    ),
    "a prompt that breaks its prefix": (
        with_part(
            "ledger",
            agents=(
                AgentFacts("triage", 700, 300.0, 1_400_000, 1_300_000),
                AgentFacts("newsletter", 700, 300.0, 1_400_000, 40_000),
            ),
        ),
        ("cache hits", Status.AMBER, "newsletter pays for most", "last in the prompt"),
    ),
    "a box nobody measured": (
        with_part("knowledge", measured=None),
        ("measured speed", Status.AMBER, "not measured", "breakeven measure"),
    ),
    "a swapping machine": (
        with_part("machine", swap_bytes_per_second=80e6),
        ("memory", Status.AMBER, "80 MB/s are swapped", "engine.slots"),
    ),
    "a throttled card": (
        with_part("machine", throttled=("card 0 is held back by heat",)),
        ("heat", Status.AMBER, "card 0 is held back by heat", "air"),
    ),
    "a hot processor": (
        with_part("machine", zones=(ThermalZone("x86_pkg_temp", 94.0, 95.0),)),
        ("heat", Status.AMBER, "94 °C and slows down at 95 °C", "air"),
    ),
    "no meter and an unknown machine": (
        with_part("machine", meter=None, draw_known=False, meter_reason="energy is modelled (rapl: none)"),
        ("power meter", Status.AMBER, "the energy of local calls is unknown", "box.machine"),
    ),
    "a full disk": (
        with_part("machine", disk_free_bytes=300_000_000),
        ("disk", Status.RED, "0.3 GB free", "Free some space"),
    ),
    "a clock that was set back": (
        with_part("ledger", last_at=NOW + 7200),
        ("clock", Status.RED, "120 min in the future", "NTP"),
    ),
    "a clock nobody keeps": (
        with_part("machine", clock_synchronised=False),
        ("clock", Status.AMBER, "time server", "NTP"),
    ),
    "books that do not add up": (
        with_part("ledger", problems=("1,400 calls are kept and 1,399 were added up",)),
        ("ledger", Status.RED, "1,399 were added up", "copy"),
    ),
    "books that cannot be read": (
        with_part("ledger", error="the ledger cannot be read: connection refused"),
        ("ledger", Status.RED, "connection refused", "journaled"),
    ),
    "old prices": (
        with_part("knowledge", prices_age_days=90),
        ("prices", Status.AMBER, "90 days old", "breakeven prices update"),
    ),
    "a damaged price update": (
        with_part("knowledge", prices_problem="it is not JSON"),
        ("prices", Status.RED, "it is not JSON", "breakeven prices update"),
    ),
    "an Ollama open to the network": (
        with_part("safety", open_listeners=(Listener(11434, "0.0.0.0", "ollama"),)),
        ("ports", Status.AMBER, "ollama on 0.0.0.0:11434", "OLLAMA_HOST=127.0.0.1"),
    ),
    "a secret in the file": (
        with_part("safety", secrets_found=("an API key (sk-…)",), others_may_read=True),
        ("secrets", Status.RED, "every user of this machine can read it", "env:VARIABLE"),
    ),
    "a configuration that anybody can change": (
        with_part("safety", others_may_write=True),
        ("secrets", Status.RED, "every user of this machine can change", "chmod go-w"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_remedy(fault: str) -> None:
    facts, (check, status, says, remedy) = FAULTS[fault]
    found = finding(facts, check)
    assert found.status is status
    assert says in found.says
    assert remedy in found.remedy


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_what_it_does_not_touch_green(fault: str) -> None:
    facts, (check, *_) = FAULTS[fault]
    others = {one.check for one in examine(facts) if one.status is not Status.GREEN} - {check}
    assert others <= {"gateway", "engine", "memory"} or fault in ("a model that was dropped", "an unusable key")


def test_what_cannot_be_told_is_unknown_not_green() -> None:
    nothing = replace(
        HEALTHY,
        gateway=GatewayFacts("127.0.0.1:4141", listening=False),
        backends=(replace(OLLAMA, loaded=None, context=None, probe=None, keep_alive=None),),
        ledger=LedgerFacts(exists=False),
        machine=MachineFacts(now=NOW, draw_known=True),
        safety=replace(HEALTHY.safety, open_listeners=None),
    )
    untold = {one.check for one in examine(nothing) if one.status is Status.UNKNOWN}
    expected = {
        "gateway",
        "engine",
        "model resident",
        "context",
        "speed",
        "cache hits",
        "memory",
        "heat",
        "disk",
        "clock",
        "ports",
    }
    assert untold == expected


def test_an_agent_that_wakes_often_enough_keeps_the_model_for_those_that_do_not() -> None:
    agents = (AgentFacts("slow", 10, 3600.0, 1, 1), AgentFacts("quick", 900, 120.0, 1, 1))
    facts = replace(with_backend(keep_alive=300.0), ledger=replace(HEALTHY.ledger, agents=agents))
    assert finding(facts, "keep-alive").status is Status.GREEN
