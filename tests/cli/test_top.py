"""``breakeven top``: rates between two looks, slots by engine, and the agents whose prompts break."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from breakeven.cli.main import main
from breakeven.cli.top import Look, page


def said(*, usd: float = 0.0, out: int = 0, broken: bool = False) -> dict[str, Any]:
    """What a gateway with one engine says."""
    break_ = {"at_character": 40, "at_token": 10, "before": "12:00", "now": "12:05"}
    tokens = {"uncached_input": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": out}
    total = {"provider": "engine", "model": "m", "tokens": tokens, "usd": usd, "watt_hours": usd * 1000}
    slot = {"number": 0, "busy": True, "agent": "a7", "held_tokens": 1510, "kept_for_chain": None}
    engine = {
        "name": "engine", "prefill_tokens_per_second": 80.0, "decode_tokens_per_second": None, "slots": [slot]
    }  # fmt: skip
    agents = {"a7": {"broken": broken, "last_break": break_}}
    box = {"engines": [engine], "waiting": [{}], "queue_seconds": [2.5], "agents": agents}
    return {"ready": True, "checks": {}, "totals": [{**total, "counterfactual_usd": usd * 3}], "box": box, "pools": {}}


def shown(now: dict[str, Any], before: dict[str, Any], seconds: float) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(page("http://x", Look.of(now, seconds), Look.of(before, 0.0)))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_rates_are_what_was_counted_between_two_looks() -> None:
    text = shown(said(usd=0.002, out=500), said(usd=0.001), 36.0)
    assert "14 out" in text
    assert "$0.1000 an hour" in text
    assert "the cloud $0.3000" in text
    assert "100.0 W" in text


def test_slots_and_queue_are_listed() -> None:
    text = shown(said(), said(), 1.0)
    assert "1 waiting, the first for 2.5 s" in text
    assert "80 in, ? out" in text
    assert "1,510" in text
    assert "differs" not in text


def test_a_prompt_that_breaks_is_named_with_its_place() -> None:
    assert "a7: its prompt differs from run to run about token 10" in shown(said(broken=True), said(), 1.0)


def test_without_a_gateway_the_remedy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["top", "--gateway", "http://127.0.0.1:9", "--json"])
    assert ended.value.code == 2
    assert "breakeven serve" in capsys.readouterr().err
