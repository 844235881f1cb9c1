"""Reads the books of the last day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from breakeven.box.books import reading
from breakeven.box.checkup.facts import AgentFacts, LedgerFacts
from breakeven.box.rhythm import Rhythm
from breakeven.box.timings import timing_of
from breakeven.config import LedgerSettings
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import BreakevenError
from breakeven.ledger.database import FILE_NAME
from breakeven.ledger.integrity import problems
from breakeven.ledger.ledger import JOURNAL_FOLDER
from breakeven.ledger.records import Attempt, Call
from breakeven.units import Seconds

DAY: Seconds = 86_400.0
FUTURE: Seconds = 10 * 365 * DAY
QUIET: Seconds = 45.0
"""An agent that was silent for so long has woken anew; the calls of one wake follow each other more closely."""


def read_ledger(settings: LedgerSettings, home: Path, now: float) -> LedgerFacts:
    """Nothing is written, and no books are begun."""
    if settings.url is None and not (home / FILE_NAME).exists():
        return LedgerFacts(exists=False)
    journal = home / JOURNAL_FOLDER
    pending = sum(path.stat().st_size for path in journal.iterdir() if path.is_file()) if journal.is_dir() else 0
    try:
        wrong = problems(settings, home)
        with reading(settings, home) as store:
            calls = list(store.calls(now - DAY, now + FUTURE, origin="gateway"))
    except BreakevenError as error:
        return LedgerFacts(error=error.message, pending_bytes=pending)
    return of_calls(calls, problems=wrong, pending_bytes=pending)


def of_calls(calls: Iterable[Call], *, problems: tuple[str, ...] = (), pending_bytes: int = 0) -> LedgerFacts:
    """What a day of calls says."""
    served = [(call, attempt, attempt.tokens) for call in calls for attempt in call.attempts if _counts(attempt)]
    known = [(call, attempt, tokens) for call, attempt, tokens in served if tokens is not None]
    prompts = [tokens.input for _, _, tokens in known]
    by_agent: dict[str, list[tuple[float, TokenCounts]]] = defaultdict(list)
    for call, _, tokens in known:
        if call.agent is not None:
            by_agent[call.agent].append((call.received_at, tokens))
    told = [attempt for _, attempt, tokens in known if attempt.counted_by == "engine" or tokens.cache_read]
    return LedgerFacts(
        problems=problems,
        pending_bytes=pending_bytes,
        last_at=max((call.received_at for call in calls), default=None),
        calls=len(known),
        prompt_tokens=sum(prompts),
        cached_tokens=sum(tokens.cache_read for _, _, tokens in known) if told else None,
        longest_prompt=max(prompts, default=None),
        agents=tuple(_agent(name, seen) for name, seen in sorted(by_agent.items())),
        timings=tuple(timing for call, attempt, _ in known if (timing := timing_of(call, attempt)) is not None),
    )


def _counts(attempt: Attempt) -> bool:
    return attempt.locality == "local" and attempt.outcome == "completed"


def _agent(name: str, seen: list[tuple[float, TokenCounts]]) -> AgentFacts:
    times = sorted(at for at, _ in seen)
    wakes = [at for before, at in zip([-FUTURE, *times], times, strict=False) if at - before > QUIET]
    rhythm = Rhythm()
    for at in wakes:
        rhythm = rhythm.woke(at)
    return AgentFacts(
        name=name,
        calls=len(seen),
        period=rhythm.period,
        prompt_tokens=sum(tokens.input for _, tokens in seen),
        cached_tokens=sum(tokens.cache_read for _, tokens in seen),
    )
