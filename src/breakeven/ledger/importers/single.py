"""A call that somebody else's log tells of, as a record; and buckets of one report, told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.importers.fields import MOST
from breakeven.ledger.importers.found import Found
from breakeven.ledger.records import (
    IMPORTED,
    Attempt,
    Call,
    CountedBy,
    Durations,
    Locality,
    Money,
    Outcome,
    UsageBucket,
)

NO_DURATIONS = Durations()
NO_MONEY = Money()
REASON = "imported"


def imported_call(
    source: str,
    call_id: str,
    *,
    at: float,
    endpoint: str,
    provider: str,
    model: str,
    tokens: TokenCounts | None,
    model_asked: str | None = None,
    locality: Locality = "remote",
    outcome: Outcome = "completed",
    counted_by: CountedBy = "provider",
    durations: Durations = NO_DURATIONS,
    stated_usd: Decimal | None = None,
    key: str | None = None,
    agent: str | None = None,
    task: str | None = None,
    error: str | None = None,
    stream: bool = False,
) -> Call:
    """One call with one attempt, unpriced save for ``stated_usd``, which the source says was billed.

    ``provider`` is its name in the price book where it has one. ``stream`` is false where the source does not say.

    Raises:
        ValueError: no database could keep it.
    """
    if tokens is not None and tokens.total >= MOST:
        raise ValueError(f"{tokens.total} tokens in one call")
    if "\0" in "".join(filter(None, (call_id, provider, model, model_asked, key, agent, task))):
        raise ValueError("a name with a NUL in it")
    attempt = Attempt(
        number=1,
        provider=provider,
        locality=locality,
        model_asked=model_asked or model,
        model_served=model,
        started_at=at,
        durations=durations,
        outcome=outcome,
        counted_by=counted_by if tokens is not None else "nobody",
        reason=REASON,
        tokens=tokens,
        money=NO_MONEY if stated_usd is None else Money(billed=stated_usd),
        error=error,
    )
    return Call(
        id=call_id,
        received_at=at,
        endpoint=endpoint,
        model=attempt.model_asked,
        stream=stream,
        outcome=outcome,
        attempts=(attempt,),
        key=key,
        agent=agent,
        task=task,
        origin=IMPORTED + source,
    )


def told_apart(found: Iterable[Found]) -> Iterator[Found]:
    """The same, with buckets of one report numbered where nothing that is kept of them tells them apart: they are parts
    of the usage, not repeats of it."""
    seen: dict[str, int] = {}
    for one in found:
        if not isinstance(one, UsageBucket):
            yield one
            continue
        place = seen[one.id] = seen.get(one.id, 0) + 1
        yield one if place == 1 else msgspec.structs.replace(one, variant=f"{one.variant} #{place}".strip())
