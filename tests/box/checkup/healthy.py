"""The facts of a machine on which all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from breakeven.box.checkup.facts import (
    AgentFacts,
    BackendFacts,
    Facts,
    FitFacts,
    GatewayFacts,
    KnowledgeFacts,
    LedgerFacts,
    MachineFacts,
    Probe,
    SafetyFacts,
)
from breakeven.box.drift import Timing
from breakeven.box.heat import ThermalZone
from breakeven.box.ollama import FOREVER

NOW = 1_795_000_000.0


def timings(since: float, until: float, *, slower: float = 1.0) -> tuple[Timing, ...]:
    """A call a minute: 200 tokens at 100 a second, 50 at 10."""
    return tuple(Timing(at, 200, 2000, 50, 2.0 * slower, 4.9 * slower) for at in range(int(since), int(until), 60))


OLLAMA = BackendFacts(
    "ollama",
    "http://127.0.0.1:11434/v1",
    version="0.12.6",
    model="llama3.3:70b",
    loaded=True,
    context=32_768,
    keep_alive=FOREVER,
    size_bytes=60_000_000_000,
    on_gpu_bytes=60_000_000_000,
    probe=Probe(sent_tokens=5000, read_tokens=5002),
)
HEALTHY = Facts(
    gateway=GatewayFacts("127.0.0.1:4141", listening=True, ready=True, checks={"ledger": "ok", "engine": "ready"}),
    backends=(OLLAMA,),
    engine_wanted=True,
    ledger=LedgerFacts(
        last_at=NOW - 5,
        calls=1400,
        prompt_tokens=2_800_000,
        cached_tokens=2_500_000,
        longest_prompt=6_000,
        agents=(AgentFacts("triage", 1400, 300.0, 2_800_000, 2_500_000),),
        timings=timings(NOW - 86_400, NOW),
    ),
    machine=MachineFacts(
        zones=(ThermalZone("x86_pkg_temp", 61.0, 95.0),),
        throttled=(),
        cpu_share=0.02,
        memory_share=0.0,
        swap_bytes_per_second=0.0,
        meter="nvml",
        draw_known=True,
        disk_free_bytes=200 * 10**9,
        home="/home/desk/.local/share/breakeven",
        clock_synchronised=True,
        now=NOW,
    ),
    safety=SafetyFacts(config_file="/home/desk/breakeven.toml", open_listeners=()),
    knowledge=KnowledgeFacts("genai-prices update 2026-11-20 (0123456789ab)", 4, measured="breakeven measure on …"),
    fit=FitFacts("llama", True, "llama, 2 slots of 8,192 tokens: fits", ""),
)


def with_backend(**changed: Any) -> Facts:
    return replace(HEALTHY, backends=(replace(OLLAMA, **changed),))


def with_part(part: str, **changed: Any) -> Facts:
    return replace(HEALTHY, **{part: replace(getattr(HEALTHY, part), **changed)})
