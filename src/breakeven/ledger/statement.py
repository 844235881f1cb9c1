"""The statement of a month: what was used, what it cost, what the cloud would have charged. Pure.

All sums come from the daily totals and are exact. A sum that misses attempts says how many, and is a lower bound.
Fixed costs are prorated with 730 hours a month over the covered time: from the first to the last call, and no less
than the time the box was busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from breakeven.economics.local import BoxCost
from breakeven.errors import InputError
from breakeven.ledger.provenance import Note, notes
from breakeven.ledger.rollup import DailyTotal, ProvenanceCount, exact
from breakeven.ledger.verdict import Comparison, Verdict, judge
from breakeven.units import SECONDS_PER_MONTH, TOKENS_PER_MILLION, Usd


class Month(msgspec.Struct, frozen=True):
    """A calendar month in UTC.

    >>> Month.parse("2026-12").until
    datetime.date(2027, 1, 1)
    """

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``YYYY-MM``.

        Raises:
            InputError: it is not a month.
        """
        try:
            first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        except ValueError:
            raise InputError(f"--month {text!r}: expected YYYY-MM, for instance 2026-11") from None
        return cls(first.year, first.month)

    @property
    def since(self) -> date:
        """Its first day."""
        return date(self.year, self.number, 1)

    @property
    def until(self) -> date:
        """The first day of the next month."""
        return date(self.year + self.number // 12, self.number % 12 + 1, 1)

    @property
    def seconds(self) -> tuple[float, float]:
        """Its beginning and its end, excluded, as Unix times."""
        begin, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (self.since, self.until))
        return begin.timestamp(), end.timestamp()

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


class Sum(msgspec.Struct, frozen=True):
    """A sum of known amounts, and of how many attempts the amount is unknown."""

    known: Decimal
    unknown_attempts: int


class Calls(msgspec.Struct, frozen=True):
    """How many calls there were and how they ended. ``escalated`` calls paid for a local and a remote attempt."""

    total: int
    served_locally: int
    completed: int
    client_left: int
    cut: int
    failed: int
    refused: int
    escalated: int
    attempts: int


class TokenTotals(msgspec.Struct, frozen=True):
    """Tokens by class. ``reasoning`` is part of ``output`` and a lower bound if ``reasoning_unknown_attempts``."""

    uncached_input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int
    total: int
    unknown_attempts: int
    reasoning_unknown_attempts: int


class LocalTotals(msgspec.Struct, frozen=True):
    """Cost of all local attempts by part, kept or not.

    Attributes:
        standing_idle: the box's fixed cost of the covered time that no call used; ``None`` without a machine.
        fixed_monthly: amortisation, care and idle draw for 730 hours.
    """

    marginal_energy: Sum
    idle_share: Sum
    amortisation_share: Sum
    standing_idle: Usd | None
    fixed_monthly: Usd | None
    watt_hours: Sum
    box_seconds: Sum


class Avoided(msgspec.Struct, frozen=True):
    """Counterfactual of the calls served locally less their full local cost.

    ``bound`` says what unknown amounts make of it: the counterfactual of some calls unknown, ``at_least``; the local
    cost of some unknown, ``at_most``; both, or one altogether, ``unknown``.
    """

    usd: Usd | None
    bound: Literal["exact", "at_least", "at_most", "unknown"]


class Formula(msgspec.Struct, frozen=True):
    """M × C against H + E over the covered time, for the calls served locally.

    Attributes:
        m_tokens: tokens of those calls.
        c_usd_per_million: their counterfactual per million tokens: an outcome, not an assumption.
        m_times_c: what the reference model would have charged.
        h: amortisation and care.
        e: electricity: the idle draw of the covered time and the marginal energy of all local attempts.
    """

    m_tokens: int
    c_usd_per_million: Usd | None
    m_times_c: Sum
    h: Usd | None
    e: Sum | None


class Served(msgspec.Struct, frozen=True):
    """One model's share of the calls."""

    provider: str
    model: str
    locality: str
    calls: int
    tokens: int
    billed: Sum
    counterfactual: Sum


class Invoiced(msgspec.Struct, frozen=True):
    """What a provider will bill to one of its keys, attempts that were not kept included: a line to hold against its
    invoice.

    Attributes:
        provider_key: the key's name in the configuration; ``None`` where there is none, or from before it was kept.
    """

    provider: str
    provider_key: str | None
    attempts: int
    tokens: int
    billed: Sum


class Coverage(msgspec.Struct, frozen=True):
    """What the figures rest on. ``seconds`` is the covered time of the module's docstring."""

    first_call: datetime
    last_call: datetime
    seconds: Decimal
    origins: dict[str, int]


class Statement(msgspec.Struct, frozen=True):
    """All of it; amounts in US dollars, unrounded."""

    month: str
    coverage: Coverage
    calls: Calls
    tokens: TokenTotals
    discarded_tokens: TokenTotals
    billed: Sum
    local: LocalTotals
    counterfactual: Sum
    avoided: Avoided
    formula: Formula
    served_by: list[Served]
    invoiced: list[Invoiced]
    verdict: Verdict
    notes: list[Note]


def compute(
    month: Month, totals: Sequence[DailyTotal], provenance: Sequence[ProvenanceCount], box: BoxCost | None
) -> Statement | None:
    """The statement of a month from its daily totals, or ``None`` when there was no call.

    ``box`` is the machine that served the local calls, ``None`` when it is unknown.
    """
    if not totals:
        return None
    kept = [total for total in totals if total.kept]
    local = [total for total in totals if total.locality == "local"]
    served_locally = [total for total in local if total.kept]
    first, last = min(total.first_at for total in totals), max(total.last_at for total in totals)
    busy = _sum(local, "box_seconds").known
    seconds = max(Decimal(repr(last)) - Decimal(repr(first)), busy)
    formula = _formula(served_locally, local, box, seconds)
    calls = _calls(totals)
    comparison = Comparison(
        calls=calls.served_locally,
        covered_seconds=seconds,
        busy_seconds=busy,
        cloud_usd=formula.m_times_c.known,
        cloud_unknown_calls=formula.m_times_c.unknown_attempts,
        fixed_usd=None if box is None else _prorated(box.fixed_usd_monthly, seconds),
        marginal_usd=_sum(local, "marginal_energy_usd").known,
        marginal_unknown_attempts=_sum(local, "marginal_energy_usd").unknown_attempts,
    )
    return Statement(
        month=str(month),
        coverage=Coverage(
            datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC), seconds, _origins(totals)
        ),
        calls=calls,
        tokens=_tokens(kept),
        discarded_tokens=_tokens([total for total in totals if not total.kept]),
        billed=_sum(totals, "billed_usd"),
        local=_local(local, box, seconds),
        counterfactual=_sum(kept, "counterfactual_usd"),
        avoided=_avoided(served_locally),
        formula=formula,
        served_by=_served_by(kept),
        invoiced=_invoiced([total for total in totals if total.locality == "remote"]),
        verdict=judge(comparison),
        notes=notes(provenance, box),
    )


def _sum(totals: Iterable[DailyTotal], name: str) -> Sum:
    known, unknown = Decimal(0), 0
    for total in totals:
        known = exact.add(known, total.sums[name])
        unknown += total.counts[f"{name}_unknown"]
    return Sum(known, unknown)


def _count(totals: Iterable[DailyTotal], name: str, when: Callable[[DailyTotal], bool] = lambda _: True) -> int:
    return sum(total.counts[name] for total in totals if when(total))


def _calls(totals: Sequence[DailyTotal]) -> Calls:
    def ended(outcome: str) -> int:
        return _count(totals, "calls", lambda total: total.outcome == outcome)

    return Calls(
        total=_count(totals, "calls"),
        served_locally=_count(
            totals, "calls", lambda total: total.locality == "local" and total.outcome not in {"failed", "refused"}
        ),
        completed=ended("completed"),
        client_left=ended("client_left"),
        cut=ended("cut"),
        failed=ended("failed"),
        refused=ended("refused"),
        escalated=_count(totals, "escalations"),
        attempts=_count(totals, "attempts"),
    )


def _tokens(totals: Sequence[DailyTotal]) -> TokenTotals:
    classes = {
        name: _count(totals, name)
        for name in ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    }
    return TokenTotals(
        **classes,
        reasoning=_count(totals, "reasoning"),
        total=sum(classes.values()),
        unknown_attempts=_count(totals, "tokens_unknown"),
        reasoning_unknown_attempts=_count(totals, "reasoning_unknown"),
    )


def _origins(totals: Sequence[DailyTotal]) -> dict[str, int]:
    names = sorted({total.origin for total in totals})
    return {name: _count(totals, "calls", lambda total, name=name: total.origin == name) for name in names}  # type: ignore[misc]


def _prorated(monthly: Usd, seconds: Decimal) -> Usd:
    return monthly * seconds / SECONDS_PER_MONTH


def _local(local: Sequence[DailyTotal], box: BoxCost | None, seconds: Decimal) -> LocalTotals:
    idle, amortisation = _sum(local, "idle_share_usd"), _sum(local, "amortisation_share_usd")
    standing_idle = None
    if box is not None and not idle.unknown_attempts and not amortisation.unknown_attempts:
        allocated = exact.add(idle.known, amortisation.known)
        standing_idle = max(Decimal(0), _prorated(box.fixed_usd_monthly, seconds) - allocated)
    return LocalTotals(
        marginal_energy=_sum(local, "marginal_energy_usd"),
        idle_share=idle,
        amortisation_share=amortisation,
        standing_idle=standing_idle,
        fixed_monthly=None if box is None else box.fixed_usd_monthly,
        watt_hours=_sum(local, "watt_hours"),
        box_seconds=_sum(local, "box_seconds"),
    )


def _avoided(served_locally: Sequence[DailyTotal]) -> Avoided:
    attempts = _count(served_locally, "attempts")
    cloud = _sum(served_locally, "counterfactual_usd")
    parts = [_sum(served_locally, f"{name}_usd") for name in ("marginal_energy", "idle_share", "amortisation_share")]
    local_unknown = max(part.unknown_attempts for part in parts)
    if attempts and attempts in (cloud.unknown_attempts, local_unknown):
        return Avoided(None, "unknown")
    if cloud.unknown_attempts and local_unknown:
        return Avoided(None, "unknown")
    difference = cloud.known
    for part in parts:
        difference = exact.subtract(difference, part.known)
    if cloud.unknown_attempts:
        return Avoided(difference, "at_least")
    return Avoided(difference, "at_most" if local_unknown else "exact")


def _formula(
    served_locally: Sequence[DailyTotal], local: Sequence[DailyTotal], box: BoxCost | None, seconds: Decimal
) -> Formula:
    tokens, cloud = _tokens(served_locally), _sum(served_locally, "counterfactual_usd")
    certain = tokens.total > 0 and not cloud.unknown_attempts and not tokens.unknown_attempts
    h = e = None
    if box is not None:
        marginal = _sum(local, "marginal_energy_usd")
        h = _prorated(box.amortisation_usd_monthly + box.care_usd_monthly, seconds)
        e = Sum(_prorated(box.idle_usd_monthly, seconds) + marginal.known, marginal.unknown_attempts)
    return Formula(
        m_tokens=tokens.total,
        c_usd_per_million=cloud.known / tokens.total * TOKENS_PER_MILLION if certain else None,
        m_times_c=cloud,
        h=h,
        e=e,
    )


def _served_by(kept: Sequence[DailyTotal]) -> list[Served]:
    servers = sorted({(total.provider, total.model, total.locality) for total in kept if total.counts["attempts"]})
    rows = []
    for provider, model, locality in servers:
        own = [t for t in kept if (t.provider, t.model, t.locality) == (provider, model, locality)]
        rows.append(
            Served(
                provider=provider,
                model=model,
                locality=locality,
                calls=_count(own, "calls"),
                tokens=_tokens(own).total,
                billed=_sum(own, "billed_usd"),
                counterfactual=_sum(own, "counterfactual_usd"),
            )
        )
    return sorted(rows, key=lambda row: (-row.calls, row.provider, row.model))


def _invoiced(remote: Sequence[DailyTotal]) -> list[Invoiced]:
    rows = []
    for provider, key in sorted({(total.provider, total.provider_key) for total in remote}):
        own = [total for total in remote if (total.provider, total.provider_key) == (provider, key)]
        rows.append(
            Invoiced(
                provider=provider,
                provider_key=key or None,
                attempts=_count(own, "attempts"),
                tokens=_tokens(own).total,
                billed=_sum(own, "billed_usd"),
            )
        )
    return rows
