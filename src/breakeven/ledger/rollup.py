"""Daily totals of calls: exact sums, and beside each sum how many attempts it is missing. Pure.

A sum over attempts of which some are unknown is a lower bound. Each sum therefore carries the count of its
unknowns, and nothing unknown is ever added as zero without being counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any, Literal

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call
from breakeven.ledger.schema import (
    COUNTS,
    EXACT_SUMS,
    MONEY_PARTS,
    PROVENANCE_KEY,
    RANGED_PARTS,
    TOKEN_CLASSES,
    TOTAL_KEY,
    utc,
)

exact = Context(prec=1000, traps=[Inexact, InvalidOperation, Overflow])
"""Sums of money never round: a sum that would need to is an error."""

LONGEST_KEY = 200
"""Characters kept of a name in a key of the totals; a server may call its model what it likes."""

NOT_ATTEMPTED = "none"
"""Provider, locality and model of a call that was refused before any upstream saw it."""

LOCAL_ONLY = ("marginal_energy_usd", "idle_share_usd", "amortisation_share_usd")
"""Money that a remote attempt does not cost: there its absence is not an unknown. Likewise box time and energy."""

MONEY_COLUMNS = tuple((part, f"{part}_usd", f"{part}_usd_unknown") for part in MONEY_PARTS)


@dataclass(frozen=True, slots=True)
class DailyTotal:
    """A row of ``daily_totals``.

    Attributes:
        provider_key: the name of the provider's key; empty where there is none.
        kept: whether these attempts were the last of their calls.
        first_at / last_at: Unix time of the first and last call.
        counts: by the names in ``schema.COUNTS``.
        sums: exact, by the names in ``schema.EXACT_SUMS``; ``counts[f"{name}_unknown"]`` attempts are missing. Of
            these ``counts["billed_usd_ranged"]`` have a range, which ``billed_least_usd`` and ``billed_most_usd`` add
            up; likewise ``counterfactual``.
    """

    day: date
    origin: str
    provider: str
    provider_key: str
    locality: str
    model: str
    outcome: str
    kept: bool
    first_at: float
    last_at: float
    counts: Mapping[str, int]
    sums: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class ProvenanceCount:
    """How many attempts of a period took a figure from one source.

    Attributes:
        figure: ``tokens``, ``watt_hours``, ``billed`` or ``counterfactual``.
        subject: the model priced, or empty.
        source: who counted, the meter's name, or the price book.
        effective / snapshot: of the price, or empty.
    """

    figure: str
    subject: str
    source: str
    effective: str
    snapshot: str
    attempts: int


def brought_nothing(attempt: Attempt) -> bool:
    """Whether it ended in an error before any answer: nobody counted tokens because nobody charges for any."""
    return attempt.tokens is None and attempt.outcome in {"failed", "refused"}


class Rollup:
    """Totals to be added to those in the database.

    ``totals`` rows are keyed by ``TOTAL_KEY``. ``kept`` marks the last attempt of a call, the one whose answer the
    client got if it got any; it carries the call itself (``calls``, ``escalations``) and the call's outcome, the
    attempts before it their own. ``model`` is what was served, else what was asked for.
    """

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self.totals: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.provenance: dict[tuple[Any, ...], int] = {}
        for call in calls:
            self.add(call)

    def add(self, call: Call) -> None:
        """Count one call."""
        day = utc(call.received_at).date()
        origin = call.origin[:LONGEST_KEY]
        if not call.attempts:
            key = (day, origin, NOT_ATTEMPTED, "", NOT_ATTEMPTED, NOT_ATTEMPTED, call.outcome, True)
            self._row(key, call.received_at)["calls"] += 1
            return
        last = call.attempts[-1]
        for attempt in call.attempts:
            kept = attempt is last
            key = (
                day,
                origin,
                attempt.provider[:LONGEST_KEY],
                (attempt.provider_key or "")[:LONGEST_KEY],
                attempt.locality,
                (attempt.model_served or attempt.model_asked)[:LONGEST_KEY],
                call.outcome if kept else attempt.outcome,
                kept,
            )
            row = self._row(key, call.received_at)
            row["attempts"] += 1
            if kept:
                row["calls"] += 1
                row["escalations"] += escalated(call)
            if not brought_nothing(attempt):
                _add_tokens(row, attempt.tokens)
            _add_sums(row, attempt)
            self._add_provenance(day, origin, attempt)

    def total_rows(self, *, sign: Literal[1, -1] = 1) -> list[dict[str, Any]]:
        """Rows of ``daily_totals``, in key order, so that concurrent writers lock them in the same order; with a sign
        of -1 they take these calls out again."""
        rows = [dict(zip(TOTAL_KEY, key, strict=True)) | self.totals[key] for key in sorted(self.totals)]
        if sign == -1:
            for row in rows:
                row.update({name: -row[name] for name in COUNTS})
                row.update({name: exact.minus(row[name]) for name in EXACT_SUMS})
        return rows

    def provenance_rows(self, *, sign: Literal[1, -1] = 1) -> list[dict[str, Any]]:
        """Rows of ``daily_provenance``, in key order; the sign as for ``total_rows``."""
        return [
            dict(zip(PROVENANCE_KEY, key, strict=True)) | {"attempts": sign * count}
            for key, count in sorted(self.provenance.items())
        ]

    def _row(self, key: tuple[Any, ...], at: float) -> dict[str, Any]:
        row = self.totals.get(key)
        if row is None:
            row = dict.fromkeys(COUNTS, 0) | dict.fromkeys(EXACT_SUMS, Decimal(0)) | {"first_at": at, "last_at": at}
            self.totals[key] = row
        elif at < row["first_at"]:
            row["first_at"] = at
        elif at > row["last_at"]:
            row["last_at"] = at
        return row

    def _add_provenance(self, day: date, origin: str, attempt: Attempt) -> None:
        if not brought_nothing(attempt):
            self._count(day, origin, "tokens", "", attempt.counted_by)
        if attempt.power_meter is not None:
            self._count(day, origin, "watt_hours", "", attempt.power_meter)
        for figure, subject, price in (
            ("billed", attempt.model_served or attempt.model_asked, attempt.price),
            ("counterfactual", attempt.reference_model or "", attempt.reference_price),
        ):
            if price is not None:
                self._count(day, origin, figure, subject, price.source, price.effective or "", price.snapshot)

    def _count(self, day: date, origin: str, figure: str, subject: str, source: str, *version: str) -> None:
        effective, snapshot = version or ("", "")
        key = (
            day,
            origin,
            figure,
            subject[:LONGEST_KEY],
            source[:LONGEST_KEY],
            effective[:LONGEST_KEY],
            snapshot[:LONGEST_KEY],
        )
        self.provenance[key] = self.provenance.get(key, 0) + 1


def escalated(call: Call) -> bool:
    """Whether a local attempt was followed by a remote one, so that the call was paid for twice."""
    localities = [attempt.locality for attempt in call.attempts]
    return "local" in localities and "remote" in localities[localities.index("local") :]


def _add_tokens(row: dict[str, Any], tokens: TokenCounts | None) -> None:
    if tokens is None:
        row["tokens_unknown"] += 1
        return
    for name in TOKEN_CLASSES[:-1]:
        row[name] += getattr(tokens, name)
    if tokens.reasoning is None:
        row["reasoning_unknown"] += 1
    else:
        row["reasoning"] += tokens.reasoning
    if not tokens.cache_known:
        row["cache_unknown"] += 1


def _add_sums(row: dict[str, Any], attempt: Attempt) -> None:
    local, nothing = attempt.locality == "local", brought_nothing(attempt)
    for part, name, unknown in MONEY_COLUMNS:
        value = getattr(attempt.money, part)
        if value is not None:
            row[name] = exact.add(row[name], value)
        elif local if name in LOCAL_ONLY else not nothing:
            row[unknown] += 1
    for part in RANGED_PARTS:
        between = getattr(attempt.money, f"{part}_range")
        if between is not None:
            row[f"{part}_usd_ranged"] += 1
            row[f"{part}_least_usd"] = exact.add(row[f"{part}_least_usd"], between.least)
            row[f"{part}_most_usd"] = exact.add(row[f"{part}_most_usd"], between.most)
    for name, measured in (("box_seconds", attempt.box_seconds), ("watt_hours", attempt.watt_hours)):
        if measured is not None:
            row[name] = exact.add(row[name], Decimal(repr(measured)))
        elif local:
            row[f"{name}_unknown"] += 1
