"""Between records and rows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from breakeven.economics.rates import PriceRange
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Durations, Money, PriceProvenance, UsageBucket
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount
from breakeven.ledger.schema import COUNTS, EXACT_SUMS, MONEY_PARTS, PROVENANCE_KEY, RANGED_PARTS, TOTAL_KEY

LONGEST_ID = 512
"""Characters; an index entry of PostgreSQL must stay below 2.7 kB."""


def call_row(call: Call) -> dict[str, Any]:
    """The row of ``calls``.

    Raises:
        ValueError: the id is empty or too long to be a key.
    """
    if not 0 < len(call.id) <= LONGEST_ID:
        raise ValueError(f"call id of {len(call.id)} characters: expected 1 to {LONGEST_ID}")
    return {
        "id": call.id,
        "received_at": call.received_at,
        "origin": call.origin,
        "endpoint": call.endpoint,
        "model": call.model,
        "stream": call.stream,
        "outcome": call.outcome,
        "key": call.key,
        "agent": call.agent,
        "task": call.task,
    }


def attempt_row(call_id: str, attempt: Attempt) -> dict[str, Any]:
    """The row of ``attempts``."""
    spent, money = attempt.durations, attempt.money
    return {
        "call_id": call_id,
        "number": attempt.number,
        "provider": attempt.provider,
        "provider_key": attempt.provider_key,
        "locality": attempt.locality,
        "model_asked": attempt.model_asked,
        "model_served": attempt.model_served,
        "started_at": attempt.started_at,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "error": attempt.error,
        "counted_by": attempt.counted_by,
        **_token_columns(attempt.tokens),
        "total_seconds": spent.total,
        "queue_seconds": spent.queue,
        "load_seconds": spent.load,
        "prefill_seconds": spent.prefill,
        "decode_seconds": spent.decode,
        "first_token_seconds": spent.first_token,
        "box_seconds": attempt.box_seconds,
        "watt_hours": attempt.watt_hours,
        "power_meter": attempt.power_meter,
        "billed_usd": money.billed,
        "marginal_energy_usd": money.marginal_energy,
        "idle_share_usd": money.idle_share,
        "amortisation_share_usd": money.amortisation_share,
        "counterfactual_usd": money.counterfactual,
        **_range_columns(money),
        **_provenance_columns(attempt),
    }


def bucket_row(bucket: UsageBucket) -> dict[str, Any]:
    """The row of ``usage_buckets``."""
    return {
        "id": bucket.id,
        "origin": bucket.origin,
        "provider": bucket.provider,
        "model": bucket.model,
        "start_at": bucket.start,
        "end_at": bucket.end,
        "requests": bucket.requests,
        "batch": bucket.batch,
        "account": bucket.account,
        "variant": bucket.variant,
        **_token_columns(bucket.tokens),
        "billed_usd": bucket.money.billed,
        "counterfactual_usd": bucket.money.counterfactual,
        **_range_columns(bucket.money),
        **_provenance_columns(bucket),
    }


def bucket_from_row(row: Mapping[str, Any]) -> UsageBucket:
    """The record that ``bucket_row`` was made from."""
    return UsageBucket(
        origin=row["origin"],
        provider=row["provider"],
        model=row["model"],
        start=row["start_at"],
        end=row["end_at"],
        tokens=_tokens(row),
        requests=row["requests"],
        batch=row["batch"],
        account=row["account"],
        variant=row["variant"],
        money=_money(row, RANGED_PARTS),
        price=_provenance(row, "price"),
        reference_model=row["reference_model"],
        reference_price=_provenance(row, "reference"),
    )


def daily_total_from_row(row: Mapping[Any, Any]) -> DailyTotal:
    """The total of a row of ``daily_totals``."""
    return DailyTotal(
        **{name: row[name] for name in (*TOTAL_KEY, "first_at", "last_at")},
        counts={name: row[name] for name in COUNTS},
        sums={name: row[name] for name in EXACT_SUMS},
    )


def provenance_counts_from_rows(rows: Iterable[Mapping[Any, Any]]) -> list[ProvenanceCount]:
    """What rows of ``daily_provenance`` count, over all their days and origins."""
    names = PROVENANCE_KEY[2:]
    counted: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        counted[tuple(row[name] for name in names)] += row["attempts"]
    return [
        ProvenanceCount(figure, subject, source, effective, snapshot, count)
        for (figure, subject, source, effective, snapshot), count in sorted(counted.items())
    ]


def _token_columns(tokens: TokenCounts | None) -> dict[str, Any]:
    return {
        "uncached_input": tokens and tokens.uncached_input,
        "cache_read": tokens and tokens.cache_read,
        "cache_write_5m": tokens and tokens.cache_write_5m,
        "cache_write_1h": tokens and tokens.cache_write_1h,
        "output": tokens and tokens.output,
        "reasoning": tokens and tokens.reasoning,
        "cache_known": tokens is None or tokens.cache_known,
    }


def _range_columns(money: Money) -> dict[str, Any]:
    billed, counterfactual = money.billed_range, money.counterfactual_range
    return {
        "billed_least_usd": billed and billed.least,
        "billed_most_usd": billed and billed.most,
        "counterfactual_least_usd": counterfactual and counterfactual.least,
        "counterfactual_most_usd": counterfactual and counterfactual.most,
    }


def _provenance_columns(record: Attempt | UsageBucket) -> dict[str, Any]:
    price, reference = record.price, record.reference_price
    return {
        "price_source": price and price.source,
        "price_effective": price and price.effective,
        "price_snapshot": price and price.snapshot,
        "reference_model": record.reference_model,
        "reference_source": reference and reference.source,
        "reference_effective": reference and reference.effective,
        "reference_snapshot": reference and reference.snapshot,
    }


def call_from_rows(call: Mapping[str, Any], attempts: Iterable[Mapping[str, Any]]) -> Call:
    """The record that ``call_row`` and ``attempt_row`` were made from."""
    return Call(**call, attempts=tuple(_attempt(row) for row in attempts))


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=row["number"],
        provider=row["provider"],
        provider_key=row["provider_key"],
        locality=row["locality"],
        model_asked=row["model_asked"],
        model_served=row["model_served"],
        started_at=row["started_at"],
        outcome=row["outcome"],
        reason=row["reason"],
        error=row["error"],
        counted_by=row["counted_by"],
        tokens=_tokens(row),
        durations=Durations(
            total=row["total_seconds"],
            queue=row["queue_seconds"],
            load=row["load_seconds"],
            prefill=row["prefill_seconds"],
            decode=row["decode_seconds"],
            first_token=row["first_token_seconds"],
        ),
        box_seconds=row["box_seconds"],
        watt_hours=row["watt_hours"],
        power_meter=row["power_meter"],
        money=_money(row, MONEY_PARTS),
        price=_provenance(row, "price"),
        reference_model=row["reference_model"],
        reference_price=_provenance(row, "reference"),
    )


def _tokens(row: Mapping[str, Any]) -> TokenCounts | None:
    if row["output"] is None:
        return None
    return TokenCounts(
        uncached_input=row["uncached_input"],
        cache_read=row["cache_read"],
        cache_write_5m=row["cache_write_5m"],
        cache_write_1h=row["cache_write_1h"],
        output=row["output"],
        reasoning=row["reasoning"],
        cache_known=row["cache_known"],
    )


def _money(row: Mapping[str, Any], parts: Iterable[str]) -> Money:
    fields: dict[str, Any] = {part: row[f"{part}_usd"] for part in parts}
    for part in RANGED_PARTS:
        if row[f"{part}_least_usd"] is not None:
            fields[f"{part}_range"] = PriceRange(row[f"{part}_least_usd"], row[f"{part}_most_usd"])
    return Money(**fields)


def _provenance(row: Mapping[str, Any], what: str) -> PriceProvenance | None:
    source = row[f"{what}_source"]
    if source is None:
        return None
    return PriceProvenance(source, row[f"{what}_effective"], row[f"{what}_snapshot"])
