"""The ledger against the invoices: thousands of calls under mixed faults, and nothing that one knows and not the other.

What a provider bills for an answer that broke off cannot be known from this side: output is billed up to the moment at
which the provider notices. So the books keep two kinds of attempts apart, and so does this test. Where the provider
reported its counts, every token and every micro-dollar must agree. Where nobody could, the attempt must say `estimate`,
every billed request must have such an attempt, and the estimates must lie near what was billed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.fakes import cloud, traffic
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, HAIKU, MINI, PRICES, SimulatedCloud
from tests.fakes.traffic import Got, Wish
from tests.gateway.conftest import booked_calls, run_gateway

from breakeven.cloudsim.invoice import key_name
from breakeven.cloudsim.serving import Latency
from breakeven.gateway.exchange import Exchange
from breakeven.gateway.metering import Observation
from breakeven.ledger.records import Attempt, Call, Outcome

CALLS = 5000
CONCURRENCY = 64
MICRO = 1_000_000
KEYS = {"gpt": "sk-first", "gpt-2": "sk-fourth", "gpt-too": "sk-second", "claude": "sk-ant-third"}
"""By the variable that holds them. ``gpt`` and ``gpt-2`` are two keys of one provider."""
FAULTS = {
    "429": 0.01, "429:0": 0.01, "500": 0.01, "503": 0.01, "529": 0.01, "slow:0.02": 0.01,
    "cut:0": 0.01, "cut:2": 0.01, "cut:6": 0.02, "truncated": 0.01, "stall:4": 0.005, "error-event:3": 0.01,
    "malformed:3": 0.01, "no-usage": 0.01, "content-type": 0.01, "refuse:0.02": 0.001,
}  # fmt: skip


class Counts(NamedTuple):
    """What both sides must agree on."""

    uncached_input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    micro_usd: Decimal


NOTHING = Counts(0, 0, 0, 0, 0, Decimal(0))


@dataclass
class Reconciliation:
    """How the books and the invoices compare, by provider and key.

    Attributes:
        agreed: attempts whose counts the provider reported, each with its line.
        estimated: attempts that say `estimate`, each with its line.
        unbilled: attempts that say `estimate` and that the provider turned out not to bill.
        unaccounted: lines that no attempt stands for.
        overbooked: attempts with reported counts that no line stands for.
    """

    agreed: Counter[str] = field(default_factory=Counter)
    agreed_sums: dict[str, Counts] = field(default_factory=lambda: defaultdict(lambda: NOTHING))
    estimated: dict[str, list[tuple[Counts, Counts]]] = field(default_factory=lambda: defaultdict(list))
    unbilled: list[Attempt] = field(default_factory=list)
    unaccounted: list[Any] = field(default_factory=list)
    overbooked: list[Attempt] = field(default_factory=list)


def billed(line: dict[str, Any]) -> Counts:
    return Counts(*(line[name] for name in Counts._fields[:-1]), Decimal(line["micro_usd"]))


def booked(attempt: Attempt) -> Counts:
    tokens, usd = attempt.tokens, attempt.money.billed
    assert tokens is not None
    assert usd is not None, attempt
    return Counts(*(getattr(tokens, name) for name in Counts._fields[:-1]), usd * MICRO)


def reconcile(calls: Iterable[Call], lines: Iterable[dict[str, Any]]) -> Reconciliation:
    """Match every call's attempts with the lines that carry its name."""
    found = Reconciliation()
    by_call: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    names = {key_name(secret): name for name, secret in KEYS.items()}
    for line in lines:
        by_call[line["user"], names[line["key"]]].append(line)
    for call in calls:
        for name in KEYS:
            own = [a for a in call.attempts if a.locality == "remote" and a.provider_key == f"env:{name}"]
            attempts = [attempt for attempt in own if attempt.tokens is not None]
            _match(found, attempts, by_call.pop((call.agent or "", name), []), name)
    found.unaccounted += [line for left in by_call.values() for line in left]
    return found


def _match(found: Reconciliation, attempts: list[Attempt], lines: list[dict[str, Any]], key: str) -> None:
    open_lines = list(lines)
    guesses = [attempt for attempt in attempts if attempt.counted_by == "estimate"]
    for attempt in attempts:
        if attempt.counted_by == "estimate":
            continue
        line = next((line for line in open_lines if billed(line) == booked(attempt)), None)
        if line is None:
            found.overbooked.append(attempt)
            continue
        open_lines.remove(line)
        found.agreed[key] += 1
        found.agreed_sums[key] = _sum((found.agreed_sums[key], booked(attempt)))
    for line in open_lines:
        if not guesses:
            found.unaccounted.append(line)
            continue
        guess = min(guesses, key=lambda attempt: abs(booked(attempt).micro_usd - billed(line).micro_usd))
        guesses.remove(guess)
        found.estimated[key].append((booked(guess), billed(line)))
    found.unbilled += guesses


def wish(number: int, rng: random.Random) -> Wish:
    """A call of one of many kinds; its name goes along to the provider as its end user, and into the books as agent."""
    name = f"c-{number}"
    headers = {"x-breakeven-agent": name}
    stream = rng.random() < 0.6
    leave = rng.randint(300, 3000) if rng.random() < 0.06 else None
    text = f"{name}: {'Sum up this report. ' * rng.randint(1, 40)}"
    if rng.random() < 0.15:  # a long prompt that both providers may cache
        text = "The same long preamble, over and over. " * 160 + text
    model = rng.choice(["gpt", "gpt-mini", "claude", "haiku", "task:first-here", "task:first-here", "task:either"])
    kind = rng.choice(["chat", "chat", "messages", "messages", "responses", "embeddings"])
    if kind == "embeddings":
        return Wish("/v1/embeddings", {"model": "embed", "input": text, "user": name}, headers)
    if kind == "responses":
        limit = {"max_output_tokens": 200}
        return Wish(
            "/v1/responses", {"model": model, "input": text, "stream": stream, "user": name, **limit}, headers, leave
        )
    if kind == "chat":
        document = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "user": name}
        if stream and rng.random() < 0.5:
            document["stream_options"] = {"include_usage": True}
        return Wish("/v1/chat/completions", {**document, "max_tokens": 200}, headers, leave)
    part = {"type": "text", "text": text}
    if rng.random() < 0.5:
        part["cache_control"] = {"type": "ephemeral", "ttl": rng.choice(["5m", "1h"])}
    return Wish(
        "/v1/messages",
        {
            "model": model,
            "messages": [{"role": "user", "content": [part]}],
            "max_tokens": 200,
            "stream": stream,
            "metadata": {"user_id": name},
        },
        {**headers, "anthropic-version": "2023-06-01"},
        leave,
    )


def configuration(sim: SimulatedCloud, house: SimulatedCloud) -> dict[str, Any]:
    common = {"locality": "remote", "catalog": "sim", "stall_seconds": 2, "first_byte_seconds": 10}
    openai = {**common, "base_url": f"{sim.url}/v1", "responses": True}

    def price(model: str) -> dict[str, str]:
        prices = PRICES[model]
        names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
        return {**{name: str(getattr(prices, name)) for name in names}, "source": "test", "effective": "2026-01-01"}

    return {
        "policy": {
            "default_data": "shareable",
            "retries": 2,
            "backoff_seconds": 0.01,
            "breaker_failures": 1000,
            "key_cooldown_seconds": 0.05,
        },
        "providers": {
            "gpt": {**openai, "keys": ["env:gpt", "env:gpt-2"]},
            "gpt-too": {**openai, "key": "env:gpt-too"},
            "claude": {**common, "base_url": sim.url + "/v1", "dialect": "anthropic", "key": "env:claude"},
            "house": {"base_url": f"{house.url}/v1", "locality": "local", "key": "env:gpt"},
        },
        "models": {
            "gpt": {"provider": "gpt", "model": GPT},
            "gpt-mini": {"provider": "gpt-too", "model": MINI},
            "claude": {"provider": "claude", "model": CLAUDE},
            "haiku": {"provider": "claude", "model": HAIKU},
            "embed": {"provider": "gpt", "model": EMBEDDER},
            "local": {"provider": "house", "model": MINI},
        },
        "tasks": {
            "first-here": {"models": ["local", "haiku", "gpt-mini"], "gates": {"rejects": ["river|stone|cloud"]}},
            "either": {"models": ["gpt", "claude"]},
        },
        "prices": {f"sim/{model}": price(model) for model in PRICES},
    }


@dataclass
class Run:
    calls: list[Call]
    lines: list[dict[str, Any]]
    totals: list[dict[str, Any]]
    answers: list[Got]
    faults: dict[str, int]


def run(home: Path, number: int, seed: int) -> Run:
    """So many calls through a gateway, and what both sides say of them when all has come to rest."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        sim = stack.enter_context(cloud.running(latency=Latency(tokens_per_second=4000)))
        house = stack.enter_context(cloud.running())
        sim.plan(seed, **FAULTS)
        house.plan(seed, **{"500": 0.02, "cut:3": 0.02, "slow:0.02": 0.02})
        with run_gateway(configuration(sim, house), home, KEYS) as gateway:
            wishes = [wish(index, rng) for index in range(number)]
            answers = asyncio.run(traffic.send_all(gateway.url, wishes, concurrency=CONCURRENCY))
            invoice = sim.invoice()
        return Run(booked_calls(home), invoice["lines"], invoice["totals"], answers, sim.seen()["by_fault"])


@pytest.mark.slow
def test_the_books_agree_with_the_invoices(tmp_path: Path) -> None:
    done = run(tmp_path, CALLS, seed=20261124)
    assert len(done.calls) == len({call.agent for call in done.calls}) == CALLS
    _require_a_mix(done)

    _require_that_callers_are_told_what_is_booked(done)

    found = reconcile(done.calls, done.lines)
    assert found.unaccounted == []
    assert found.overbooked == []
    assert [attempt for attempt in found.unbilled if attempt.outcome not in ("failed", "client_left")] == []
    assert min(found.agreed[name] for name in KEYS) > 100
    for name, secret in KEYS.items():
        owed = [total for total in done.totals if total["key"] == key_name(secret)]
        estimates = found.estimated[name]
        guessed, charged = ([pair[side] for pair in estimates] for side in (0, 1))
        assert found.agreed[name] + len(estimates) == sum(total["requests"] for total in owed)
        assert found.agreed_sums[name] == _minus(_sum(billed(total) for total in owed), _sum(charged))
        for guess, charge in estimates:
            assert _prompt(guess) == pytest.approx(_prompt(charge), rel=0.35, abs=10)
        assert _prompt(_sum(guessed)) == pytest.approx(_prompt(_sum(charged)), rel=0.05)
        assert 0.4 < _sum(guessed).output / _sum(charged).output < 1.6
        assert _sum(guessed).micro_usd > _sum(charged).micro_usd / 2


def test_books_that_leave_out_broken_answers_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observe = Exchange.observe

    def observe_completed_alone(self: Exchange, outcome: Outcome, read: Any, error: str | None = None) -> Observation:
        return observe(self, outcome, read if outcome == "completed" else None, error)

    monkeypatch.setattr(Exchange, "observe", observe_completed_alone)
    done = run(tmp_path, 300, seed=7)
    assert reconcile(done.calls, done.lines).unaccounted


def _require_a_mix(done: Run) -> None:
    """The run had everything in it that it is there for."""
    attempts = [attempt for call in done.calls for attempt in call.attempts]
    assert set(done.faults) == {fault.split(":")[0] for fault in FAULTS}
    assert {call.outcome for call in done.calls} >= {"completed", "cut", "client_left"}
    assert any(attempt.outcome == "failed" for attempt in attempts)
    assert any(attempt.error == "gate:rejects" for attempt in attempts)
    assert any(attempt.locality == "local" for attempt in attempts)
    assert any(len({a.provider for a in call.attempts}) < len(call.attempts) for call in done.calls)
    classes = _sum(billed(line) for line in done.lines)
    assert min(classes) > 0, classes


def _require_that_callers_are_told_what_is_booked(done: Run) -> None:
    """Whole answers carry the cost of all attempts of their call, failed ones and discarded answers included."""
    by_id = {call.id: call for call in done.calls}
    told = [got for got in done.answers if got.status == 200 and not got.wish.document.get("stream")]
    several = 0
    for got in told:
        attempts = by_id[got.headers["x-breakeven-call-id"]].attempts
        if {attempt.locality for attempt in attempts} == {"remote"}:
            billed_in_all = sum(attempt.money.billed or 0 for attempt in attempts)
            assert Decimal(got.headers["x-breakeven-cost-usd"]) == billed_in_all
            several += len(attempts) > 1
    assert several > 20


def _sum(counts: Iterable[Counts]) -> Counts:
    total = NOTHING
    for count in counts:
        total = Counts(*(a + b for a, b in zip(total, count, strict=True)))
    return total


def _minus(one: Counts, other: Counts) -> Counts:
    return Counts(*(a - b for a, b in zip(one, other, strict=True)))


def _prompt(counts: Counts) -> int:
    return counts.uncached_input + counts.cache_read + counts.cache_write_5m + counts.cache_write_1h
