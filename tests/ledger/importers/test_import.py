"""Importing changes nothing that is there, whatever the order, the split or the overlap of the files."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.importers.conftest import FILES, only
from tests.ledger.samples import local_attempt

from breakeven.config import LedgerSettings
from breakeven.economics.rates import PriceRange
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.found import Options
from breakeven.ledger.importers.own import bucket_line, call_line
from breakeven.ledger.importers.price import STATED, SUBSCRIPTION, Pricer
from breakeven.ledger.importers.run import SHOWN_PROBLEMS, Account, Import
from breakeven.ledger.importers.sources import SOURCES, Located, select
from breakeven.ledger.records import Attempt, Call, UsageBucket
from breakeven.ledger.rollup import Rollup
from breakeven.ledger.schema import COUNTS, EXACT_SUMS, TOTAL_KEY
from breakeven.ledger.store import Merged, Store

TakeIn = Callable[..., list[Account]]
EVERYTHING = (FILES, FILES / "calls.csv")
CSV = Options(input_includes_cached=True, constants={"provider": "openai"})


def all_of(ledger: Store) -> tuple[list[Call], list[UsageBucket], list[dict[str, Any]]]:
    totals, _ = ledger.daily(date(2010, 1, 1), date(2100, 1, 1))
    rows = [{name: getattr(row, name) for name in TOTAL_KEY} | row.counts | row.sums for row in totals]
    return list(ledger.calls(0, 4e9)), list(ledger.buckets(0, 4e9)), rows


def attempts_of(ledger: Store, origin: str) -> list[Attempt]:
    return [only(call) for call in ledger.calls(0, 4e9, origin=f"import:{origin}")]


def recomputed(calls: list[Call]) -> list[dict[str, Any]]:
    names = (*TOTAL_KEY, *COUNTS, *EXACT_SUMS)
    return [{name: row[name] for name in names} for row in Rollup(calls).total_rows()]


def test_the_same_files_again_change_nothing(ledger: Store, take_in: TakeIn) -> None:
    first = take_in(*EVERYTHING, options=CSV)
    before = all_of(ledger)
    again = take_in(*EVERYTHING, options=CSV)
    assert all_of(ledger) == before
    assert all(account.new_calls == account.grown_calls == account.new_buckets == 0 for account in again)
    assert [account.skipped for account in again] == [account.skipped for account in first]


def test_totals_are_those_of_the_calls(ledger: Store, take_in: TakeIn) -> None:
    take_in(*EVERYTHING, options=CSV)
    calls, _, totals = all_of(ledger)
    assert totals == recomputed(calls)


def test_a_message_counts_once_with_its_final_output(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "claude")
    assert sorted(attempt.tokens.output for attempt in attempts_of(ledger, "claude-code") if attempt.tokens) == [
        5, 5, 20, 44, 77, 90, 412, 700,
    ]  # fmt: skip


def test_a_log_that_grew_replaces_the_partial_state_of_its_last_message(
    ledger: Store, take_in: TakeIn, tmp_path: Path
) -> None:
    lines = (FILES / "claude/projects/-home-ann-shop/0f5c1f0e.jsonl").read_text().splitlines(keepends=True)
    log = tmp_path / "session.jsonl"
    log.write_text("".join(lines[:4]))
    take_in(log)
    assert [only(call).tokens.output for call in all_of(ledger)[0]] == [3]  # type: ignore[union-attr]
    log.write_text("".join(lines[:6]))
    (account,) = take_in(log)
    assert (account.new_calls, account.grown_calls) == (0, 1)
    calls, _, totals = all_of(ledger)
    assert [only(call).tokens.output for call in calls] == [412]  # type: ignore[union-attr]
    assert totals == recomputed(calls)


def test_a_day_reported_before_its_end_is_replaced_by_the_whole_day(
    ledger: Store, take_in: TakeIn, tmp_path: Path
) -> None:
    text = (FILES / "openrouter-daily.csv").read_text()
    for name, requests, prompt in (("noon", "20", "400000"), ("midnight", "31", "640000"), ("late", "20", "400000")):
        (tmp_path / f"{name}.csv").write_text(text.replace("31,640000", f"{requests},{prompt}"))
        take_in(tmp_path / f"{name}.csv")
    first, _ = all_of(ledger)[1]
    assert (first.requests, first.tokens.input if first.tokens else None) == (31, 640_000)


def test_rows_that_nothing_tells_apart_are_parts_and_not_repeats(
    ledger: Store, take_in: TakeIn, tmp_path: Path
) -> None:
    page = json.loads((FILES / "openai-usage.json").read_text())
    page["data"][0]["results"] *= 2
    (tmp_path / "page.json").write_text(json.dumps(page))
    take_in(tmp_path / "page.json")
    take_in(tmp_path / "page.json")
    assert len(all_of(ledger)[1]) == 5


def _inputs() -> dict[str, list[bytes]]:
    """Line by line, the logs that may be cut anywhere."""
    lines = {}
    for name in ("claude/projects/-home-ann-shop/0f5c1f0e.jsonl", "litellm.jsonl", "ollama.jsonl", "otel.jsonl"):
        lines[name] = (FILES / name).read_bytes().splitlines(keepends=True)
    lines["side.jsonl"] = (
        (FILES / "claude/projects/-home-ann-shop/subagents/agent-7.jsonl").read_bytes().splitlines(True)
    )
    return lines


SOURCE_OF = {"litellm.jsonl": "litellm", "ollama.jsonl": "ollama", "otel.jsonl": "otel"}


def _taken_in(pricer: Pricer, pieces: list[tuple[str, bytes]]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for place, (source, content) in enumerate(pieces):
            path = Path(folder) / f"{place:03}.jsonl"
            path.write_bytes(content)
            files.append(Located(path, SOURCES[source]))
        store = Store.open(LedgerSettings(), Path(folder))
        try:
            Import(store, pricer).run(files)
            return all_of(store)
        finally:
            store.close()


@given(st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order_split_and_overlap_of_the_files_gives_the_same_ledger(pricer: Pricer, chance: random.Random) -> None:
    whole, pieces = [], []
    for name, lines in _inputs().items():
        source = SOURCE_OF.get(name, "claude-code")
        whole.append((source, b"".join(lines)))
        cut = chance.randint(0, len(lines))
        overlap = chance.randint(0, cut)
        pieces += [(source, b"".join(lines[:cut])), (source, b"".join(lines[overlap:]))]
    chance.shuffle(pieces)
    assert _taken_in(pricer, pieces) == _taken_in(pricer, whole)


class Collected:
    """A ledger that only counts."""

    def merge(self, batch: Iterable[Call], complete: Callable[[Call], Call] = lambda call: call) -> Merged:
        return Merged([complete(call) for call in batch], [])

    def insert_buckets(self, batch: Iterable[UsageBucket]) -> int:
        return len(list(batch))


def account_of(pricer: Pricer, source: str, content: bytes) -> Account:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(content)
        options = Options(True, {"at": "a", "input": "b", "output": "c"}, {"model": "m"}) if source == "csv" else CSV
        (account,) = Import(Collected(), pricer, options).run([Located(path, SOURCES[source])])
    return account


BROKEN = [b"{", b"nonsense", b'{"type":"assistant"', b"\xff\xfe", b'{"a":}']
ODD = [b"[", b'"', b"{}", b"[]", b"null", b'{"data":[1]}']
HEADING = {"csv": b"a,b,c\n"}


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([*BROKEN, b"[", b'"', b"{}", b"[]", b"null", b'{"data":[1]}']))
)
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("source", SOURCES)
def test_garbage_never_stops_an_import(pricer: Pricer, source: str, garbage: list[bytes]) -> None:
    account = account_of(pricer, source, HEADING.get(source, b"") + b"\n".join(garbage))
    assert account.calls == account.buckets == 0
    assert len(account.problems) == min(account.skipped, SHOWN_PROBLEMS)


@given(st.lists(st.sampled_from(BROKEN), max_size=20), st.data())
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize(
    "name", ["litellm.jsonl", "ollama.jsonl", "otel.jsonl", "claude/projects/-home-ann-shop/0f5c1f0e.jsonl"]
)
def test_each_bad_line_is_counted_and_costs_no_good_one(
    pricer: Pricer, name: str, bad: list[bytes], data: st.DataObject
) -> None:
    mixed = (FILES / name).read_bytes().splitlines()
    source = SOURCE_OF.get(name, "claude-code")
    clean = account_of(pricer, source, b"\n".join(mixed))
    for line in bad:
        mixed.insert(data.draw(st.integers(0, len(mixed))), line)
    dirty = account_of(pricer, source, b"\n".join(mixed))
    assert dirty.calls == clean.calls
    assert dirty.skipped == clean.skipped + len(bad)


def test_money_is_what_the_source_says_else_what_the_book_says(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "litellm.jsonl", FILES / "otel.jsonl", FILES / "ollama.jsonl")
    stated = attempts_of(ledger, "litellm")[0]
    assert (stated.money.billed, stated.price) == (Decimal("0.0021"), STATED)
    cached = next(attempt for attempt in attempts_of(ledger, "otel") if attempt.tokens and attempt.tokens.cache_read)
    # gpt-5: $1.25 in, $0.125 cached, $10 out
    assert cached.money.billed == Decimal("0.00203")
    assert cached.price is not None
    assert cached.price.source.startswith("genai-prices")
    local = attempts_of(ledger, "ollama")[0]
    assert (local.money.billed, local.money.marginal_energy, local.watt_hours) == (0, None, None)


def test_what_was_cached_and_nobody_told_makes_money_a_range(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "otel.jsonl")
    old = next(
        a for a in attempts_of(ledger, "otel") if a.tokens and not a.tokens.cache_known and a.locality == "remote"
    )
    # claude-sonnet-4-5, 500 in, 50 out: all read from a cache at $0.30, or all written for an hour at $6
    expected = PriceRange(Decimal("0.0009"), Decimal("0.00375"))
    assert (old.money.billed, old.money.billed_range) == (None, expected)
    assert old.money.counterfactual_range == expected


def test_subscriptions_are_billed_nothing_and_held_against_the_same_models_price(
    ledger: Store, take_in: TakeIn
) -> None:
    take_in(FILES / "codex", subscribed=True)
    first = attempts_of(ledger, "codex")[0]
    assert (first.money.billed, first.price) == (Decimal(0), SUBSCRIPTION)
    assert (first.reference_model, first.money.counterfactual) == ("openai/gpt-5-codex", Decimal("0.00825"))


def test_calls_paid_by_the_token_are_held_against_the_reference(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "codex")
    first = attempts_of(ledger, "codex")[0]
    assert first.money.billed == Decimal("0.00825")
    assert (first.reference_model, first.money.counterfactual) == ("anthropic/claude-sonnet-4-5", Decimal("0.018"))


def test_a_subscription_pays_for_its_providers_models_alone(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "claude", subscribed=True)
    by_provider = {attempt.provider: attempt for attempt in attempts_of(ledger, "claude-code")}
    assert by_provider["anthropic"].money.billed == 0
    assert by_provider["unknown"].money.billed is None
    assert by_provider["anthropic-fast"].money.billed is None


def test_buckets_are_ranges_where_a_tier_or_a_batch_may_have_held(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "openai-usage.json", FILES / "anthropic-usage.json")
    by_model = {(bucket.model, bucket.batch): bucket.money for bucket in all_of(ledger)[1]}
    # gpt-5 has one tier: 200k × $1.25 + 800k × $0.125 + 50k × $10
    assert by_model["gpt-5", False].billed == Decimal("0.85")
    unsure = by_model["gpt-5.5", None]
    assert unsure.billed is None
    assert unsure.billed_range is not None
    assert unsure.billed_range.least < unsure.billed_range.most
    assert by_model["", None].billed is None
    assert by_model["", None].billed_range is None
    standard, batch = by_model["claude-haiku-4-5", False], by_model["claude-haiku-4-5", True]
    # 20k × $1 + 80k × $0.1 + 500 × $1.25 + 1,000 × $2 + 5k × $5
    assert standard.billed == Decimal("0.055625")
    assert batch.billed == Decimal("0.0225")


def test_an_export_comes_back_as_it_was_and_marked_as_imported(ledger: Store, take_in: TakeIn, tmp_path: Path) -> None:
    own = Call(
        id="call_1",
        received_at=1793491200.0,
        endpoint="/v1/chat/completions",
        model="local",
        stream=True,
        outcome="completed",
        attempts=(local_attempt(),),
    )
    bucket = UsageBucket("import:openai-usage", "openai", "gpt-5", 1793491200.0, 1793577600.0, TokenCounts(output=5))
    (tmp_path / "export.jsonl").write_bytes(call_line(own) + b"\n" + bucket_line(bucket) + b"\n")
    assert [file.importer.name for file in select([tmp_path]).files] == ["breakeven"]
    take_in(tmp_path / "export.jsonl")
    calls, buckets, _ = all_of(ledger)
    assert [(call.origin, call.attempts) for call in calls] == [("import:breakeven", own.attempts)]
    assert buckets == [bucket]


def test_an_export_imported_where_it_came_from_changes_nothing(ledger: Store, take_in: TakeIn, tmp_path: Path) -> None:
    take_in(FILES / "codex")
    before = all_of(ledger)
    (tmp_path / "export.jsonl").write_bytes(b"\n".join(call_line(call) for call in before[0]))
    take_in(tmp_path / "export.jsonl")
    assert all_of(ledger) == before


def test_what_was_read_before_a_file_that_cannot_be_read_is_kept(ledger: Store, pricer: Pricer, tmp_path: Path) -> None:
    (good,) = select([FILES / "litellm.jsonl"]).files
    with pytest.raises(InputError, match="cannot be read"):
        Import(ledger, pricer).run([good, Located(tmp_path, good.importer)])
    assert len(all_of(ledger)[0]) == 4


def test_forgetting_an_import_leaves_the_others(ledger: Store, take_in: TakeIn) -> None:
    take_in(FILES / "codex")
    before = all_of(ledger)
    take_in(FILES / "litellm.jsonl", FILES / "openrouter-daily.csv")
    assert ledger.forget("import:litellm") == 4
    assert ledger.forget("import:openrouter") == 2
    assert all_of(ledger) == before


def test_what_the_database_refuses_is_skipped_and_the_rest_is_kept(
    ledger: Store, take_in: TakeIn, tmp_path: Path
) -> None:
    export = [json.loads(call_line(call)) for call in _codex_calls(ledger, take_in)]
    export[1]["call"]["id"] = "x" * 600
    (tmp_path / "export.jsonl").write_text("\n".join(json.dumps(line) for line in export))
    ledger.forget("import:codex")
    (account,) = take_in(tmp_path / "export.jsonl")
    assert (account.new_calls, account.skipped) == (3, 1)
    assert "600 characters" in account.problems[0].what


def _codex_calls(ledger: Store, take_in: TakeIn) -> list[Call]:
    take_in(FILES / "codex")
    return all_of(ledger)[0]
