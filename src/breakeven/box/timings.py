"""What the books say of how long calls on machines of one's own took."""

from __future__ import annotations

import logging
from pathlib import Path

from breakeven.box.books import reading
from breakeven.box.drift import Timing
from breakeven.config import LedgerSettings
from breakeven.errors import LedgerError
from breakeven.ledger.records import Attempt, Call
from breakeven.units import Seconds

log = logging.getLogger(__name__)

HOUR: Seconds = 3600.0
HOURS = 24
ENOUGH_CALLS = 1000
MOST_AT_ONCE = 4
"""Calls counted as running beside one another where nobody says how many can: what waits counts as running too."""


def timing_of(call: Call, attempt: Attempt, *, at_once: int = MOST_AT_ONCE) -> Timing | None:
    """The timing of an attempt; ``None`` of one that was not completed locally, or that nobody counted.

    Args:
        at_once: calls that its server takes at a time.
    """
    tokens = attempt.tokens
    if tokens is None or attempt.locality != "local" or attempt.outcome != "completed":
        return None
    durations, prompt = attempt.durations, tokens.input
    beside = 1.0
    if durations.total and attempt.box_seconds:
        beside = durations.total / attempt.box_seconds
    return Timing(
        at=call.received_at,
        computed_tokens=prompt - tokens.cache_read,
        context_tokens=prompt,
        output_tokens=tokens.output,
        prefill=durations.prefill,
        decode=durations.decode if durations.decode is not None else _decode_by_clock(attempt),
        load=durations.load,
        parallel=max(1, min(at_once, round(beside))),
    )


def _decode_by_clock(attempt: Attempt) -> Seconds | None:
    """From the first token to the end, of a server that does not state its times. Its prefill cannot be told: nobody
    says how much of it was cached."""
    durations = attempt.durations
    if attempt.number > 1 or durations.total is None or durations.first_token is None:
        return None
    return max(0.0, durations.total - durations.first_token)


def latest_calls(settings: LedgerSettings, home: Path, now: float) -> list[Call]:
    """Calls of the last day, hour by hour back until there are enough to tell what is usual; none of books that do not
    answer."""
    found: list[Call] = []
    try:
        with reading(settings, home) as store:
            for hour in range(HOURS):
                until = now - hour * HOUR
                found[:0] = store.calls(until - HOUR, until, origin="gateway")
                if len(found) >= ENOUGH_CALLS:
                    break
    except LedgerError as error:
        log.warning("how long calls usually take must be learned anew: %s", error)
    return found
