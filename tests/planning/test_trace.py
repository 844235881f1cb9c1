import json
import random
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from tests.planning.conftest import ON, ROWS, FixedPrices, rates

from breakeven.catalog.prices import open_book
from breakeven.economics.bulk import TokenColumns, price_columns
from breakeven.economics.rates import price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.planning.scenario import parse
from breakeven.planning.trace import read_trace
from breakeven.planning.trace_document import trace_document
from breakeven.planning.trace_plan import plan_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def azure(folder, rows):
    path = folder / "azure.csv"
    path.write_text(HEADER + "".join(f"2026-03-01 09:{m:02}:{s:02}.1234567,{i},{o}\n" for m, s, i, o in rows))
    return path


@pytest.fixture
def small_trace(tmp_path):
    """Two hundred requests in a quarter of an hour, the second half of them in a burst."""
    rng = random.Random(1)
    steady = [(n * 9 // 60, n * 9 % 60, rng.randint(100, 4000), rng.randint(5, 200)) for n in range(100)]
    burst = [(7, n % 60, rng.randint(100, 4000), rng.randint(5, 200)) for n in range(100)]
    return azure(tmp_path, steady + burst)


def test_an_azure_trace_is_read_and_put_in_order(small_trace):
    trace = read_trace(small_trace)

    assert (trace.format, len(trace), trace.skipped) == ("azure", 200, 0)
    assert (np.diff(trace.at) >= 0).all()
    assert trace.span_seconds == pytest.approx(891)
    assert trace.peak_minute_factor > 5
    assert trace.reused_tokens is None


def test_a_mooncake_trace_tells_what_prompts_share(tmp_path):
    path = tmp_path / "mooncake.jsonl"
    lines = [
        {"timestamp": 0, "input_length": 1100, "output_length": 10, "hash_ids": [1, 2, 3]},
        {"timestamp": 2000, "input_length": 1500, "output_length": 10, "hash_ids": [1, 2, 9]},
        {"timestamp": 3000, "input_length": 600, "output_length": 10, "hash_ids": [7, 2]},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    trace = read_trace(path)

    assert trace.at.tolist() == [0, 2, 3]
    assert trace.reused_tokens.tolist() == [0, 1024, 0]


def test_our_own_export_keeps_the_classes_of_tokens_apart(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"at": 100.5, "uncached_input": 200, "cache_read": 1800, "output": 150}\n')
    trace = read_trace(path)

    assert (trace.input_tokens.tolist(), trace.reused_tokens.tolist()) == ([2000], [1800])


def test_bad_lines_are_counted_shown_and_skipped(tmp_path):
    path = azure(tmp_path, [(0, 1, 100, 10)])
    path.write_text(path.read_text() + "yesterday,5,5\n2026-03-01 09:05:00,-5,5\n2026-03-01 09:06:00,nan,5\n")
    trace = read_trace(path)

    assert (len(trace), trace.skipped) == (1, 3)
    assert trace.problems[0].startswith("line 3:")


MOONCAKE = '{"timestamp": 0, "input_length": 10, "output_length": 1, "hash_ids": [1]}'
OWN = '{"at": 0, "uncached_input": 10, "output": 1}'


@pytest.mark.parametrize(
    ("first", "bad"),
    [
        (MOONCAKE, '{"timestamp": 1, "input_length": "many", "output_length": 1}'),
        (MOONCAKE, '{"timestamp": 1, "input_length": 0, "output_length": 0}'),
        (OWN, '{"at": 1, "uncached_input": 5.5, "output": 1}'),
        (OWN, '{"at": 1, "uncached_input": 50, "cache_read": -5, "output": 1}'),
        (OWN, '{"at": 1e15, "uncached_input": 5, "output": 1}'),
        (OWN, '{"at": 1, "uncached_input": 1000000000000, "output": 1}'),
        (MOONCAKE, '{"timestamp": 1, "input_length": 10, "output_length": 2000000}'),
        (OWN, "not json"),
    ],
)
def test_a_bad_line_among_json_lines_is_skipped_and_a_blank_one_is_nothing(tmp_path, first, bad):
    path = tmp_path / "lines.jsonl"
    path.write_text(f"{first}\n\n{bad}\n")
    trace = read_trace(path)

    assert (len(trace), trace.skipped) == (1, 1)
    assert trace.problems[0].startswith("line 3:")


def test_only_the_first_problems_are_shown_but_all_are_counted(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(OWN + "\n" + "x\n" * 20)
    trace = read_trace(path)

    assert (trace.skipped, len(trace.problems)) == (20, 5)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InputError, match="not text"):
        read_trace(path)


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n", '{"prompt": "hello"}\n', "", HEADER])
def test_a_file_of_no_known_format_or_without_requests_is_refused(tmp_path, text):
    path = tmp_path / "odd.csv"
    path.write_text(text)

    with pytest.raises(InputError):
        read_trace(path)


def test_a_trace_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "missing.csv")


def test_pricing_the_sum_instead_of_each_call_is_wrong_by_the_tier(small_trace):
    trace = read_trace(small_trace)
    haiku = ROWS["anthropic/claude-haiku-5-5"]
    per_call = plan_trace(trace, parse({}), FixedPrices(), ON).clouds[1].usd
    summed = price_call(
        TokenCounts(uncached_input=int(trace.input_tokens.sum()), output=int(trace.output_tokens.sum())), haiku
    )

    assert summed.total == 5 * per_call


def test_distinct_requests_priced_once_give_the_exact_sum_of_all_calls(small_trace):
    trace = read_trace(small_trace)
    listed = rates("0.37", "1.91", tier=(2000, 2))
    each = [
        price_call(TokenCounts(uncached_input=i, output=o), listed).total
        for i, o in zip(trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True)
    ]

    known = TokenColumns.of([msgspec.structs.replace(call, cache_known=True) for call in trace.tokens.counts()])
    assert price_columns(known, listed).usd == sum(each, Decimal(0))


def test_a_trace_is_answered_with_boxes_waits_and_cost_on_both_sides(small_trace, prices):
    found = trace_document(plan_trace(read_trace(small_trace), parse({}), prices, ON))
    m4, m3, pc = found["machines"]

    assert [case["machine"] for case in found["machines"]] == ["m4-max-128", "m3-ultra-256", "2x-rtx-4090"]
    assert m4["boxes"] > m3["boxes"] > pc["boxes"] >= 1
    assert all(case["wait_p95_seconds"] <= 60 for case in found["machines"])
    assert all(case["usd_trace"] < case["usd_monthly"] for case in found["machines"])
    assert {case["model"] for case in found["clouds"]} == {
        "anthropic/claude-sonnet-5-5",
        "anthropic/claude-haiku-5-5",
        "openai/gpt-6-luna",
        "novita/meta-llama/llama-3.3-70b-instruct",
    }


def test_a_trace_on_the_machine_of_the_scenario_only(small_trace, prices):
    scenario = parse({"box": {"machine": "dgx-spark"}, "cloud": {"hosted": "none", "frontier": "nobody/knows"}})
    made = plan_trace(read_trace(small_trace), scenario, prices, ON)

    assert [case.machine.key for case in made.machines] == ["dgx-spark"]
    assert made.machines[0].boxes is None
    assert made.clouds[0].usd is None


def test_requests_longer_than_the_model_takes_are_counted(tmp_path, prices):
    made = plan_trace(read_trace(azure(tmp_path, [(0, 1, 200_000, 10), (0, 2, 100, 10)])), parse({}), prices, ON)

    assert made.too_long == 1
    assert made.machines[-1].boxes is None


def test_what_prompts_share_spares_the_box_prefill_and_the_cloud_its_full_price(tmp_path, prices):
    path = tmp_path / "own.jsonl"
    line = '{"at": %d, "uncached_input": %d, "cache_read": %d, "output": 50}\n'
    path.write_text("".join(line % (n * 5, 200, 3800) for n in range(50)))
    shared = plan_trace(read_trace(path), parse({}), prices, ON)
    path.write_text("".join(line % (n * 5, 4000, 0) for n in range(50)))
    apart = plan_trace(read_trace(path), parse({}), prices, ON)

    assert shared.machines[0].busy_boxes < apart.machines[0].busy_boxes
    assert shared.clouds[0].usd < apart.clouds[0].usd


def test_the_azure_conversation_trace_priced_per_request_and_the_classic_error():
    """Its sums, spread over as many requests; the longest has 14,050 tokens, far below the tier at 100,000."""
    requests, prompts, outputs = 19_366, 22_361_870, 4_088_665
    each = TokenColumns.of(
        TokenCounts((prompts + n) // requests, output=(outputs + n) // requests) for n in range(requests)
    )
    haiku = open_book({}, None).find("anthropic", "claude-haiku-5-5", at=ON).rates
    summed = price_call(TokenCounts(prompts, output=outputs), haiku).total

    assert (each.total("uncached_input"), each.total("output")) == (prompts, outputs)
    assert round(price_columns(each, haiku).usd, 2) == Decimal("4.28")
    assert round(summed, 2) == Decimal("21.40")
