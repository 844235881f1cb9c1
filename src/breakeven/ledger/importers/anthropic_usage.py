"""Anthropic's organisation reports: ``usage_report/messages`` (tokens) and ``cost_report`` (money), as JSON.

- Pages of buckets, as the API answers them: one document, several, or one to a line.
- Uncached input, cache reads and cache writes are counted apart.
- Amounts of the cost report are in **cents**. Priority Tier is not in it.
- A field of ``group_by`` that is null was not asked for. Without ``model`` nothing can be priced; without
  ``service_tier`` the standard and the batch tier are both possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import dollars, moment
from breakeven.ledger.importers.found import Found, Importer, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import told_apart
from breakeven.ledger.records import IMPORTED, Money, UsageBucket

USAGE = "anthropic-usage"
COST = "anthropic-cost"
CENTS_PER_DOLLAR = 100
IN_THE_BOOK = {None, "standard", "batch"}
"""Service tiers that the price book has rates for."""


class _CacheWrites(msgspec.Struct):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Result(msgspec.Struct):
    uncached_input_tokens: int | None = None
    cache_read_input_tokens: int = 0
    cache_creation: _CacheWrites | None = None
    output_tokens: int = 0
    amount: str | float | None = None
    currency: str | None = None
    description: str | None = None
    cost_type: str | None = None
    token_type: str | None = None
    model: str | None = None
    service_tier: str | None = None
    context_window: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    workspace_id: str | None = None
    api_key_id: str | None = None
    account_id: str | None = None
    service_account_id: str | None = None


class _Bucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[msgspec.Raw]


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


_page = msgspec.json.Decoder(_Page)
_bucket = msgspec.json.Decoder(_Bucket)
_result = msgspec.json.Decoder(_Result)


def sniff_usage(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Only this report speaks of uncached input."""
    return 1.0 if b'"uncached_input_tokens":' in head and b'"starting_at"' in head else 0.0


def sniff_cost(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Buckets of amounts."""
    return 1.0 if b'"starting_at"' in head and b'"amount"' in head and b'"currency"' in head else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A bucket for each result of each bucket of time."""
    for number, document in file.documents():
        try:
            parts = _page.decode(document).data if b'"data"' in document else [msgspec.Raw(document)]
        except msgspec.DecodeError as error:
            yield Problem(number, str(error))
            continue
        for part in parts:
            yield from told_apart(_read_bucket(number, part))


def _read_bucket(number: int, part: msgspec.Raw) -> Iterator[Found]:
    try:
        bucket = _bucket.decode(part)
        start, end = moment(bucket.starting_at), moment(bucket.ending_at)
        if end <= start:
            raise ValueError(f"a bucket that ends ({bucket.ending_at}) before it starts ({bucket.starting_at})")
    except (msgspec.DecodeError, ValueError) as error:
        yield Problem(number, str(error))
        return
    for raw in bucket.results:
        try:
            result = _result.decode(raw)
            yield _usage(start, end, result) if result.uncached_input_tokens is not None else _cost(start, end, result)
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))


def _usage(start: float, end: float, result: _Result) -> UsageBucket:
    writes = result.cache_creation or _CacheWrites()
    provider = "anthropic" if result.service_tier in IN_THE_BOOK else f"anthropic-{result.service_tier}"
    if result.speed not in {None, "standard"}:
        provider = f"anthropic-{result.speed}"
    return UsageBucket(
        origin=IMPORTED + USAGE,
        provider=provider,
        model=result.model or "",
        start=start,
        end=end,
        tokens=TokenCounts.reported(
            input_tokens=result.uncached_input_tokens or 0,
            output_tokens=result.output_tokens,
            input_includes_cached=False,
            cache_read=result.cache_read_input_tokens,
            cache_write_5m=writes.ephemeral_5m_input_tokens,
            cache_write_1h=writes.ephemeral_1h_input_tokens,
        ),
        batch=None if result.service_tier is None else result.service_tier == "batch",
        account=_account(result),
        variant=_variant(result.service_tier, result.context_window, result.inference_geo, result.speed),
    )


def _cost(start: float, end: float, result: _Result) -> UsageBucket:
    if result.amount is None:
        raise ValueError("a result with neither tokens nor an amount")
    if (result.currency or "USD").upper() != "USD":
        raise ValueError(f"an amount in {result.currency!r}, not in US cents")
    return UsageBucket(
        origin=IMPORTED + COST,
        provider="anthropic",
        model=result.model or "",
        start=start,
        end=end,
        batch=None if result.service_tier is None else result.service_tier == "batch",
        account=_account(result),
        variant=_variant(
            result.cost_type,
            result.token_type,
            result.service_tier,
            result.context_window,
            result.inference_geo,
            result.description,
        ),
        money=Money(billed=dollars(result.amount) / CENTS_PER_DOLLAR),
    )


def _account(result: _Result) -> str | None:
    named = (
        ("workspace", result.workspace_id),
        ("key", result.api_key_id),
        ("account", result.account_id),
        ("service account", result.service_account_id),
    )
    return ", ".join(f"{what} {name}" for what, name in named if name) or None


def _variant(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


USAGE_IMPORTER = Importer(USAGE, "Anthropic's usage report of messages", sniff_usage, read)
COST_IMPORTER = Importer(COST, "Anthropic's cost report", sniff_cost, read)
