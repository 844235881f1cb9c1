"""Each source's counts mean what its maker says they mean."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.importers.conftest import FILES, calls_in, only, read

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.found import NO_OPTIONS, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.sources import SOURCES, SURE, detect, select
from breakeven.ledger.importers.table import prepare
from breakeven.ledger.records import Call, Durations, UsageBucket

CLAUDE = FILES / "claude/projects/-home-ann-shop/0f5c1f0e.jsonl"
LEGACY = FILES / "claude/projects/-home-ann-old/legacy.jsonl"
PARENT, FORK = sorted((FILES / "codex").rglob("*.jsonl"), key=lambda path: path.name)


def buckets_in(source: str, name: str) -> list[UsageBucket]:
    return [found for found in read(source, FILES / name) if isinstance(found, UsageBucket)]


def problems_in(source: str, path: Path, options: Options = NO_OPTIONS) -> dict[int, str]:
    return {found.line: found.what for found in read(source, path, options) if isinstance(found, Problem)}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("claude/projects/-home-ann-shop/0f5c1f0e.jsonl", "claude-code"),
        ("claude/projects/-home-ann-shop/subagents/agent-7.jsonl", "claude-code"),
        ("claude/projects/-home-ann-old/legacy.jsonl", "claude-code"),
        (str(PARENT.relative_to(FILES)), "codex"),
        (str(FORK.relative_to(FILES)), "codex"),
        ("openai-usage.json", "openai-usage"),
        ("openai-costs.json", "openai-cost"),
        ("anthropic-usage.json", "anthropic-usage"),
        ("anthropic-cost.json", "anthropic-cost"),
        ("openrouter-daily.csv", "openrouter"),
        ("openrouter-generations.csv", "openrouter"),
        ("litellm.jsonl", "litellm"),
        ("litellm.json", "litellm"),
        ("litellm.csv", "litellm"),
        ("ollama.jsonl", "ollama"),
        ("otel.json", "otel"),
        ("otel.jsonl", "otel"),
    ],
)
def test_a_file_tells_what_it_is(name: str, source: str) -> None:
    found = detect(FILES / name)
    assert found is not None
    assert found.name == source


def test_a_csv_of_no_known_kind_is_read_only_when_it_is_named(tmp_path: Path) -> None:
    assert detect(FILES / "calls.csv", SURE) is None
    assert select([FILES / "calls.csv"]).files[0].importer.name == "csv"
    assert select([FILES]).passed_over == 1


def test_a_file_of_no_known_kind_is_refused_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing of the kind")
    with pytest.raises(InputError, match="no known source"):
        select([tmp_path / "notes.txt"])
    with pytest.raises(InputError, match="does not exist"):
        select([tmp_path / "absent"])
    with pytest.raises(InputError, match="no such source"):
        select([tmp_path], "teletype")


def test_a_file_named_twice_is_read_once() -> None:
    assert len(select([FILES / "claude", FILES / "claude", CLAUDE]).files) == 3


def test_claude_code_counts_cached_tokens_apart_and_splits_writes() -> None:
    first = only(calls_in("claude-code", CLAUDE)[0])
    assert first.tokens == TokenCounts(
        uncached_input=10, cache_read=8000, cache_write_5m=1000, cache_write_1h=2000, output=3
    )
    assert (first.provider, first.locality, first.durations) == ("anthropic", "remote", Durations())


def test_claude_code_states_of_one_message_share_an_id_and_grow() -> None:
    streamed = calls_in("claude-code", CLAUDE)[:3]
    assert len({call.id for call in streamed}) == 1
    assert max(streamed, key=lambda call: call.extent) is streamed[2]


def test_claude_code_replays_in_sidechains_share_the_id_of_what_they_replay() -> None:
    own = {call.id for call in calls_in("claude-code", CLAUDE)}
    side = {call.id for call in calls_in("claude-code", CLAUDE.parent / "subagents/agent-7.jsonl")}
    assert side < own


def test_claude_code_advice_is_a_call_of_its_own() -> None:
    advice = calls_in("claude-code", CLAUDE)[-1]
    assert (only(advice).model_served, only(advice).tokens) == (
        "claude-opus-4-6",
        TokenCounts(uncached_input=12_000, output=700),
    )


def test_claude_code_writes_of_old_logs_were_for_five_minutes() -> None:
    legacy = only(calls_in("claude-code", LEGACY)[0])
    assert legacy.tokens == TokenCounts(uncached_input=10, cache_write_5m=300, output=20)


def test_claude_code_ids_of_gateways_are_told_apart_by_session() -> None:
    first, grown, other = calls_in("claude-code", LEGACY)[1:4]
    assert first.id == grown.id != other.id
    assert only(first).provider == "unknown"


def test_claude_code_labels_calls_with_the_project_whatever_the_separator() -> None:
    assert {call.task for call in calls_in("claude-code", LEGACY)} == {"old", "shop"}


def test_claude_code_counts_every_line_it_cannot_read() -> None:
    assert set(problems_in("claude-code", LEGACY)) == {6, 7}


def test_codex_takes_each_step_of_the_totals_and_no_repeat() -> None:
    calls = calls_in("codex", PARENT)
    assert [only(call).tokens for call in calls] == [
        TokenCounts(uncached_input=5000, output=200, reasoning=128),
        TokenCounts(uncached_input=636, cache_read=4864, output=300, reasoning=100),
        TokenCounts(uncached_input=724, cache_read=5376, output=60, reasoning=0),  # by difference
    ]
    assert [only(call).model_served for call in calls] == ["gpt-5-codex", "gpt-5-codex", "gpt-5.5"]


def test_codex_forks_leave_out_the_history_that_they_begin_with() -> None:
    (own,) = calls_in("codex", FORK)
    assert only(own).tokens == TokenCounts(uncached_input=256, cache_read=6144, output=140, reasoning=40)
    assert own.id.split(":")[1] in FORK.name


def test_codex_forks_without_ids_of_turns_are_told_by_time(tmp_path: Path) -> None:
    text = FORK.read_text().replace('"turn_id"', '"former_turn_id"')
    (tmp_path / FORK.name).write_text(text)
    assert len(calls_in("codex", tmp_path / FORK.name)) == 1


def test_codex_sessions_that_tell_their_model_late_have_it_all_the_same(tmp_path: Path) -> None:
    lines = PARENT.read_text().splitlines(keepends=True)
    (tmp_path / PARENT.name).write_text("".join([lines[0], *lines[4:7], lines[1], *lines[7:]]))
    assert [only(call).model_served for call in calls_in("codex", tmp_path / PARENT.name)] == [
        "gpt-5-codex",
        "gpt-5-codex",
        "gpt-5.5",
    ]
    (tmp_path / PARENT.name).write_text("".join([lines[0], lines[4]]))
    assert [only(call).model_served for call in calls_in("codex", tmp_path / PARENT.name)] == ["unknown"]


def test_codex_sessions_count_the_same_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "moved.jsonl").write_bytes(PARENT.read_bytes())
    assert calls_in("codex", tmp_path / "moved.jsonl") == calls_in("codex", PARENT)


def test_openai_buckets_include_cached_tokens_in_their_input() -> None:
    first, unsure, nameless = buckets_in("openai-usage", "openai-usage.json")
    assert first.tokens == TokenCounts(uncached_input=200_000, cache_read=800_000, output=50_000)
    assert (first.requests, first.batch, first.account) == (400, False, "project proj_shop")
    assert unsure.batch is None
    assert nameless.model == ""


def test_openai_costs_are_dollars_and_nothing_else() -> None:
    (cost,) = buckets_in("openai-cost", "openai-costs.json")
    assert (cost.money.billed, cost.tokens, cost.variant) == (Decimal("0.06"), None, "gpt-5, input")
    assert "eur" in problems_in("openai-cost", FILES / "openai-costs.json")[1]


def test_anthropic_buckets_count_uncached_input() -> None:
    standard, batch = buckets_in("anthropic-usage", "anthropic-usage.json")
    assert standard.tokens == TokenCounts(
        uncached_input=20_000, cache_read=80_000, cache_write_5m=500, cache_write_1h=1000, output=5_000
    )
    assert (standard.batch, batch.batch, standard.requests) == (False, True, None)


def test_anthropic_costs_are_in_cents() -> None:
    tokens, search = buckets_in("anthropic-cost", "anthropic-cost.json")
    assert (tokens.money.billed, search.money.billed) == (Decimal("1.2378912"), Decimal("0.02"))


def test_openrouter_days_do_not_tell_what_was_cached() -> None:
    first, second = buckets_in("openrouter", "openrouter-daily.csv")
    assert first.tokens == TokenCounts(uncached_input=640_000, output=30_500, reasoning=0, cache_known=False)
    assert (first.end - first.start, first.requests, first.money.billed) == (86_400, 31, Decimal("0.33"))
    assert second.money.billed == Decimal("0.027")  # OpenRouter's part and the provider's own
    assert set(problems_in("openrouter", FILES / "openrouter-daily.csv")) == {4}


def test_openrouter_generations_tell_what_was_cached() -> None:
    first, cancelled = calls_in("openrouter", FILES / "openrouter-generations.csv")
    assert only(first).tokens == TokenCounts(uncached_input=2389, cache_read=8000, output=137, reasoning=20)
    assert only(first).durations == Durations(total=4.2, first_token=0.65)
    assert (only(first).money.billed, first.key, first.agent) == (Decimal("0.0123"), "desk", "Shop")
    assert cancelled.outcome == "client_left"


@pytest.mark.parametrize("name", ["litellm.jsonl", "litellm.json", "litellm.csv"])
def test_litellm_tells_the_same_in_each_form(name: str) -> None:
    openai, anthropic, local, failed = calls_in("litellm", FILES / name)
    assert only(openai).tokens == TokenCounts(uncached_input=360, cache_read=640, output=300, reasoning=128)
    assert (only(openai).money.billed, only(openai).durations) == (
        Decimal("0.0021"),
        Durations(total=4.5, first_token=0.75),
    )
    assert (openai.key, openai.agent, openai.task, openai.model) == ("desk", "bob", "shop", "smart")
    assert only(anthropic).tokens == TokenCounts(uncached_input=1000, output=300, cache_known=False)
    assert (only(local).locality, only(local).money.billed) == ("local", None)
    assert (failed.outcome, only(failed).tokens) == ("failed", None)
    assert len(problems_in("litellm", FILES / name)) == 1
    assert sum(isinstance(found, LeftOut) for found in read("litellm", FILES / name)) == 1


def test_ollama_durations_cover_what_was_not_cached() -> None:
    first, cached, uncounted, cloud = calls_in("ollama", FILES / "ollama.jsonl")
    assert only(first).tokens == TokenCounts(uncached_input=2000, output=76, cache_known=False)
    assert only(first).durations == Durations(total=12.123456789, load=2.0, prefill=2.5, decode=7.6)
    assert only(cached).tokens == TokenCounts(uncached_input=200, cache_read=1900, output=40)
    assert (only(uncounted).tokens, only(uncounted).counted_by) == (None, "nobody")
    assert (only(cloud).locality, only(first).locality, only(first).box_seconds) == ("remote", "local", None)


@pytest.mark.parametrize("name", ["otel.json", "otel.jsonl"])
def test_otel_spans_of_agents_and_tools_are_no_calls(name: str) -> None:
    calls = {call.id: call for call in calls_in("otel", FILES / name)}
    cached, old, local, failed = calls.values()
    assert only(cached).tokens == TokenCounts(uncached_input=360, cache_read=640, output=150, reasoning=64)
    assert only(old).tokens == TokenCounts(uncached_input=500, output=50, cache_known=False)
    assert (only(local).locality, only(local).counted_by) == ("local", "engine")
    assert (failed.outcome, only(failed).error) == ("failed", "overloaded_error")


def test_otel_spans_that_exclude_cached_tokens_are_read_when_the_user_says_so() -> None:
    assert len(problems_in("otel", FILES / "otel.jsonl")) == 1
    options = Options(input_includes_cached=False)
    assert problems_in("otel", FILES / "otel.jsonl", options) == {}
    (last,) = calls_in("otel", FILES / "otel.jsonl", options)[-1:]
    assert only(last).tokens == TokenCounts(uncached_input=10, cache_read=900, output=5)


INCLUDES = Options(input_includes_cached=True, constants={"provider": "openai"})


def test_csv_columns_are_told_by_their_headings_and_shown() -> None:
    shown = prepare(FILES / "calls.csv", INCLUDES)
    for part in ("at=created at", "input=Prompt Tokens", "provider always 'openai'", "not used: note", "include"):
        assert part in shown


def test_csv_rows_are_calls_and_bad_ones_are_counted() -> None:
    full, untold, twin, second = calls_in("csv", FILES / "calls.csv", INCLUDES)
    assert only(full).tokens == TokenCounts(uncached_input=360, cache_read=640, output=100)
    assert only(untold).tokens == TokenCounts(uncached_input=1000, output=100, cache_known=False)
    assert (twin.id == second.id, twin.received_at == second.received_at) == (False, True)
    assert set(problems_in("csv", FILES / "calls.csv", INCLUDES)) == {6, 7, 8}


def test_csv_conventions_are_never_assumed() -> None:
    with pytest.raises(InputError, match="--input-excludes-cached"):
        prepare(FILES / "calls.csv", Options())
    excludes = Options(input_includes_cached=False)
    assert only(calls_in("csv", FILES / "calls.csv", excludes)[0]).tokens == TokenCounts(
        uncached_input=1000, cache_read=640, output=100
    )


@pytest.mark.parametrize(
    ("headings", "options", "said"),
    [
        ("time,model,input_tokens", INCLUDES, "--map output=COLUMN"),
        ("time,input_tokens,output_tokens", INCLUDES, "--set model=VALUE"),
        ("time,timestamp,model,input_tokens,output_tokens", INCLUDES, "--map at=time or --map at=timestamp"),
        ("time,model,input_tokens,output_tokens", Options(True, {"input": "tokens"}), "no such column"),
        ("time,model,input_tokens,output_tokens", Options(True, {"colour": "x"}), "no such field"),
        ("time,model,input_tokens,output_tokens", Options(True, {}, {"at": "now"}), "differs from call to call"),
    ],
)
def test_csv_files_that_leave_something_open_say_which_flags_to_give(
    tmp_path: Path, headings: str, options: Options, said: str
) -> None:
    (tmp_path / "x.csv").write_text(headings + "\n")
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        prepare(tmp_path / "x.csv", options)


AT = "2026-11-02T05:00:00Z"


def said_by_each_source(counts: TokenCounts) -> dict[str, bytes]:
    """The same call, as each source would write it down."""
    cached = {"cache_read_input_tokens": counts.cache_read, "cache_creation_input_tokens": counts.cache_write_5m}
    claude = {
        "type": "assistant",
        "timestamp": AT,
        "message": {
            "id": "msg_1",
            "model": "claude-sonnet-4-5",
            "usage": {"input_tokens": counts.uncached_input, "output_tokens": counts.output, **cached},
        },
    }
    total = {
        "input_tokens": counts.input,
        "cached_input_tokens": counts.cache_read,
        "cache_write_input_tokens": counts.cache_write_5m,
        "output_tokens": counts.output,
    }
    info = {"total_token_usage": total, "last_token_usage": total}
    codex = {"type": "event_msg", "timestamp": AT, "payload": {"type": "token_count", "info": info}}
    litellm = {
        "request_id": "1",
        "model": "claude-sonnet-4-5",
        "startTime": AT,
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "metadata": {"usage_object": cached},
    }
    usage = {
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "cache_read.input_tokens": counts.cache_read,
        "cache_creation.input_tokens": counts.cache_write_5m,
    }
    attributes = [{"key": "gen_ai.request.model", "value": {"stringValue": "claude-sonnet-4-5"}}]
    attributes += [{"key": f"gen_ai.usage.{name}", "value": {"intValue": value}} for name, value in usage.items()]
    span = {"traceId": "a", "spanId": "b", "startTimeUnixNano": 1793595600 * 10**9, "attributes": attributes}
    otel = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    heading = "time,model,input_tokens,output_tokens,cached_tokens,cache_write_tokens"
    row = f"{AT},claude-sonnet-4-5,{{}},{counts.output},{counts.cache_read},{counts.cache_write_5m}"
    documents = {"claude-code": claude, "codex": codex, "litellm": litellm, "otel": otel}
    lines = {name: json.dumps(document).encode() for name, document in documents.items()}
    lines["csv including"] = f"{heading}\n{row.format(counts.input)}\n".encode()
    lines["csv excluding"] = f"{heading}\n{row.format(counts.uncached_input)}\n".encode()
    return lines


TOKENS = st.integers(0, 10**7)


@given(st.builds(TokenCounts, uncached_input=TOKENS, cache_read=TOKENS, cache_write_5m=TOKENS, output=TOKENS))
@settings(max_examples=30, deadline=None)
def test_sources_that_include_and_that_exclude_cached_tokens_agree_on_the_same_call(counts: TokenCounts) -> None:
    if not counts.total:
        return  # for Codex nothing has happened then
    for source, content in said_by_each_source(counts).items():
        name, _, convention = source.partition(" ")
        options = Options(convention == "including") if convention else NO_OPTIONS
        file = OpenFile(Path("log"), io.BytesIO(content))
        (found,) = SOURCES[name].read(file, options)
        assert isinstance(found, Call), (source, found)
        tokens = only(found).tokens
        assert tokens is not None
        assert (tokens.uncached_input, tokens.cache_read, tokens.cache_write_5m, tokens.output, tokens.cache_known) == (
            counts.uncached_input,
            counts.cache_read,
            counts.cache_write_5m,
            counts.output,
            True,
        ), source
