"""One honest sentence: did the box pay, on how much data, and what is not known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import msgspec

from breakeven.units import Usd, usd

LEAST_SECONDS = 24 * 3600
LEAST_CALLS = 100
FULL_LOAD = Decimal("0.7")
"""Share of busy time beyond which calls queue up; more volume than this is not a promise."""

VerdictCode = Literal[
    "no_local_calls", "no_machine", "unknown_cost", "too_little_data", "local_cheaper", "cloud_cheaper", "equal"
]


class Verdict(msgspec.Struct, frozen=True):
    """``code`` for machines, ``sentence`` for people."""

    code: VerdictCode
    sentence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The box against the cloud for the calls served locally.

    Attributes:
        covered_seconds / busy_seconds: time from first to last call; time the box worked.
        cloud_usd: what the reference model would have charged, less ``cloud_unknown_calls`` of unknown price.
        fixed_usd: amortisation, care and idle draw of the covered time; ``None`` when the machine is unknown.
        marginal_usd: energy of all local attempts, less ``marginal_unknown_attempts`` of unknown energy.
    """

    calls: int
    covered_seconds: Decimal
    busy_seconds: Decimal
    cloud_usd: Usd
    cloud_unknown_calls: int
    fixed_usd: Usd | None
    marginal_usd: Usd
    marginal_unknown_attempts: int


def judge(facts: Comparison) -> Verdict:
    """The verdict. Unknown amounts are never negative, so a side that is known in part is a lower bound: the other
    side wins only if it is known whole."""
    reach = f"On {duration(facts.covered_seconds)} of data ({facts.calls:,} local calls)"
    if not facts.calls:
        return Verdict("no_local_calls", "No call was served locally, so there is nothing to hold against the cloud.")
    if facts.fixed_usd is None:
        return Verdict(
            "no_machine",
            f"{reach}, whether local was cheaper is unknown: no machine is configured, "
            f"and the cloud would have charged {_at_least(facts.cloud_usd, facts.cloud_unknown_calls, facts.calls)}.",
        )
    box = facts.fixed_usd + facts.marginal_usd
    sides = (
        f"the box cost {_at_least(box, facts.marginal_unknown_attempts)} "
        f"and the cloud would have charged {_at_least(facts.cloud_usd, facts.cloud_unknown_calls, facts.calls)}"
    )
    if facts.covered_seconds < LEAST_SECONDS or facts.calls < LEAST_CALLS:
        return Verdict("too_little_data", f"{reach}, {sides}: too little to judge by.")
    if facts.cloud_usd > box and not facts.marginal_unknown_attempts:
        margin = _at_least(facts.cloud_usd - box, facts.cloud_unknown_calls)
        return Verdict("local_cheaper", f"{reach}, {sides}: local was cheaper by {margin}.")
    if box > facts.cloud_usd and not facts.cloud_unknown_calls:
        margin = _at_least(box - facts.cloud_usd, facts.marginal_unknown_attempts)
        return Verdict(
            "cloud_cheaper", f"{reach}, {sides}: the cloud would have been cheaper by {margin}{_needed(facts)}."
        )
    if facts.cloud_unknown_calls or facts.marginal_unknown_attempts:
        return Verdict("unknown_cost", f"{reach}, {sides}: which is cheaper is unknown.")
    return Verdict("equal", f"{reach}, {sides}: the same.")


def duration(seconds: Decimal) -> str:
    """A span in the unit that suits it.

    >>> duration(Decimal(259_200)), duration(Decimal(5400)), duration(Decimal(40))
    ('3.0 days', '1.5 hours', '40 seconds')
    """
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} seconds"


def _at_least(amount: Usd, unknown: int, of: int = 0) -> str:
    if unknown and unknown == of:
        return "an unknown amount"
    return f"at least {usd(amount)} ({unknown:,} unknown)" if unknown else usd(amount)


def _needed(facts: Comparison) -> str:
    """How many times the volume would break even: fixed / (cloud − marginal), and whether the box could serve it."""
    gain = facts.cloud_usd - facts.marginal_usd
    if facts.marginal_unknown_attempts or facts.fixed_usd is None:
        return ""
    if gain <= 0:
        return ", and no volume would change that, since electricity alone costs more"
    times = facts.fixed_usd / gain
    busy = times * facts.busy_seconds / facts.covered_seconds
    if busy > FULL_LOAD:
        return f"; {times:.1f} times the volume would break even, which is more than the box can serve"
    return f"; {times:.1f} times the volume would break even, with the box busy {busy:.0%} of the time"
