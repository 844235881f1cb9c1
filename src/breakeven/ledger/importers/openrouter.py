"""OpenRouter's activity, as CSV: a row for each day, model and provider, or a row for each generation.

- Daily rows do not say how much of the prompt was cached; rows of generations do, as part of the prompt.
- Reasoning is part of the completion.
- ``usage`` and ``cost_total`` are what OpenRouter took, in dollars. With a key of one's own, the provider bills the
  rest: ``byok_usage_inference``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import count, dollars, moment, native_id
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call, told_apart
from breakeven.ledger.records import IMPORTED, Call, Durations, Money, UsageBucket

NAME = "openrouter"
DAILY = {"date", "model_permaslug", "requests", "prompt_tokens", "completion_tokens", "usage"}
GENERATIONS = {"generation_id", "created_at", "tokens_prompt", "tokens_completion", "model_permaslug"}
Row = Mapping[str, str]


def sniff(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Both kinds have headings of their own."""
    heading = {name.strip().strip('"') for name in head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").split(",")}
    return 1.0 if heading >= DAILY or heading >= GENERATIONS else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A bucket for each daily row, a call for each generation."""
    return told_apart(_read(file))


def _read(file: OpenFile) -> Iterator[Found]:
    heading: list[str] | None = None
    for found in file.rows():
        if isinstance(found, Problem):
            yield found
            continue
        number, values = found
        if heading is None:
            heading = [name.strip() for name in values]
            continue
        try:
            if len(values) != len(heading):
                raise ValueError(f"{len(values)} fields where the heading has {len(heading)}")
            row = dict(zip(heading, values, strict=True))
            yield _generation(row) if "generation_id" in row else _day(row)
        except (ValueError, KeyError, InputError) as error:
            yield Problem(number, f"no column {error}" if isinstance(error, KeyError) else str(error))


def _day(row: Row) -> UsageBucket:
    day = datetime.strptime(row["date"][:10], "%Y-%m-%d").replace(tzinfo=UTC)
    return UsageBucket(
        origin=IMPORTED + NAME,
        provider="openrouter",
        model=row["model_permaslug"],
        start=moment(day.isoformat()),
        end=moment((day + timedelta(days=1)).isoformat()),
        tokens=TokenCounts.reported(
            input_tokens=count(row["prompt_tokens"]),
            output_tokens=count(row["completion_tokens"]),
            input_includes_cached=True,
            reasoning=_optional_count(row, "reasoning_tokens"),
            cache_known=False,
        ),
        requests=count(row["requests"]),
        account=row.get("workspace_id") or None,
        variant=row.get("endpoint_id") or row.get("provider_name", ""),
        money=Money(billed=_billed(row, "usage")),
    )


def _generation(row: Row) -> Call | LeftOut:
    tokens_in, tokens_out = count(row["tokens_prompt"]), count(row["tokens_completion"])
    cached = _optional_count(row, "tokens_cached")
    cancelled = row.get("cancelled", "").lower() == "true"
    at = moment(row["created_at"])
    taken = _optional_count(row, "generation_time_ms")
    first = _optional_count(row, "time_to_first_token_ms")
    return imported_call(
        NAME,
        native_id(NAME, row["generation_id"] or _missing("generation_id")),
        at=at,
        endpoint="/v1/chat/completions",
        provider="openrouter",
        model=row["model_permaslug"],
        tokens=TokenCounts.reported(
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            input_includes_cached=True,
            cache_read=cached or 0,
            reasoning=_optional_count(row, "tokens_reasoning"),
            cache_known=cached is not None,
        ),
        outcome="client_left" if cancelled else "completed",
        durations=Durations(
            total=None if taken is None else taken / 1000, first_token=None if first is None else first / 1000
        ),
        stated_usd=_billed(row, "cost_total"),
        key=row.get("api_key_name") or None,
        agent=row.get("app_name") or None,
        stream=row.get("streamed", "").lower() == "true",
    )


def _billed(row: Row, column: str) -> Decimal:
    own_key = row.get("byok_usage_inference", "").strip()
    return dollars(row[column]) + (dollars(own_key) if own_key else Decimal(0))


def _optional_count(row: Row, column: str) -> int | None:
    text = row.get(column, "").strip()
    return count(text) if text else None


def _missing(column: str) -> str:
    raise ValueError(f"no {column}")


IMPORTER = Importer(NAME, "OpenRouter's activity", sniff, read)
