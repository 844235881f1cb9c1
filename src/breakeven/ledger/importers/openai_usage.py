"""OpenAI's organisation reports: ``/v1/organization/usage/completions`` (tokens) and ``/costs`` (dollars), as JSON.

- Pages of buckets, as the API answers them: one document, several, or one to a line.
- ``input_tokens`` includes cached tokens and those written to the cache.
- A field of ``group_by`` that is null was not asked for. Without ``model`` nothing can be priced; without ``batch``
  both tiers are possible; a service tier that is not named is taken for the standard one.
- Audio has rates of its own, so a bucket with audio tokens keeps its price unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import checked_moment, dollars
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import told_apart
from breakeven.ledger.records import IMPORTED, Money, UsageBucket

USAGE = "openai-usage"
COST = "openai-cost"
USAGE_RESULT = "organization.usage.completions.result"
COST_RESULT = "organization.costs.result"
STANDARD_TIERS = {None, "default", "standard", "auto"}


class _Amount(msgspec.Struct):
    value: float | str
    currency: str = "usd"


class _Result(msgspec.Struct):
    object: str
    input_tokens: int = 0
    output_tokens: int = 0
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    num_model_requests: int | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    amount: _Amount | None = None
    line_item: str | None = None


class _Bucket(msgspec.Struct):
    start_time: float
    end_time: float
    results: list[msgspec.Raw]


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


_page = msgspec.json.Decoder(_Page)
_bucket = msgspec.json.Decoder(_Bucket)
_result = msgspec.json.Decoder(_Result)


def sniff_usage(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Results name what they are."""
    return 1.0 if USAGE_RESULT.encode() in head else 0.0


def sniff_cost(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Results name what they are."""
    return 1.0 if COST_RESULT.encode() in head else 0.0


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
        start, end = checked_moment(bucket.start_time), checked_moment(bucket.end_time)
        if end <= start:
            raise ValueError(f"a bucket that ends ({end:.0f}) before it starts ({start:.0f})")
    except (msgspec.DecodeError, ValueError) as error:
        yield Problem(number, str(error))
        return
    for raw in bucket.results:
        try:
            result = _result.decode(raw)
            if result.object == USAGE_RESULT:
                yield _usage(start, end, result)
            elif result.object == COST_RESULT:
                yield _cost(start, end, result)
            else:
                yield LeftOut(f"results of the kind {result.object[:80]}")
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))


def _usage(start: float, end: float, result: _Result) -> UsageBucket:
    audio = (result.input_audio_tokens or 0) + (result.output_audio_tokens or 0)
    provider = "openai" if result.service_tier in STANDARD_TIERS else f"openai-{result.service_tier}"
    return UsageBucket(
        origin=IMPORTED + USAGE,
        provider="openai-audio" if audio else provider,
        model=result.model or "",
        start=start,
        end=end,
        tokens=TokenCounts.reported(
            input_tokens=result.input_tokens,
            output_tokens=result.output_tokens,
            input_includes_cached=True,
            cache_read=result.input_cached_tokens or 0,
            cache_write_5m=result.input_cache_write_tokens or 0,
            cache_known=result.input_cached_tokens is not None,
        ),
        requests=result.num_model_requests,
        batch=result.batch,
        account=_account(result),
        variant=result.service_tier or "",
    )


def _cost(start: float, end: float, result: _Result) -> UsageBucket:
    if result.amount is None:
        raise ValueError("a cost without an amount")
    if result.amount.currency.lower() != "usd":
        raise ValueError(f"an amount in {result.amount.currency!r}, not in US dollars")
    return UsageBucket(
        origin=IMPORTED + COST,
        provider="openai",
        model="",
        start=start,
        end=end,
        account=_account(result),
        variant=result.line_item or "",
        money=Money(billed=dollars(result.amount.value)),
    )


def _account(result: _Result) -> str | None:
    named = (("project", result.project_id), ("user", result.user_id), ("key", result.api_key_id))
    return ", ".join(f"{what} {name}" for what, name in named if name) or None


USAGE_IMPORTER = Importer(USAGE, "OpenAI's usage report of completions", sniff_usage, read)
COST_IMPORTER = Importer(COST, "OpenAI's report of costs", sniff_cost, read)
