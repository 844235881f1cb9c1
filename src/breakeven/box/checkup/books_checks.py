"""Checks of the books, and of the figures that everything is priced and planned with."""

from __future__ import annotations

from breakeven.box.checkup.facts import Facts
from breakeven.box.checkup.finding import Finding, amber, green, red, unknown

LEAST_CALLS = 20
LITTLE_REUSE = 0.3
LONG_PROMPT = 500
OLD_PRICES_DAYS = 45
PENDING_BYTES = 10_000_000


def ledger(facts: Facts) -> Finding:
    """Whether the books can be read and agree with themselves."""
    books = facts.ledger
    if books.error is not None:
        return red("ledger", books.error, "Calls are journaled until the database answers; see docs/ledger.md.")
    if not books.exists:
        return green("ledger", "no books yet: they begin with the first call")
    if books.problems:
        return red("ledger", "; ".join(books.problems), "Keep a copy of the file as it is, then see docs/ledger.md.")
    if books.pending_bytes > PENDING_BYTES and facts.gateway.ready is None:
        return amber(
            "ledger",
            f"{books.pending_bytes / 1e6:.0f} MB of journal wait to be written to the database",
            "Start the gateway: it writes them.",
        )
    return green("ledger", f"whole; {books.calls:,} local calls in the last day")


def cache(facts: Facts) -> Finding:
    """Prompts that come again should be found in the KV cache."""
    books = facts.ledger
    if books.calls < LEAST_CALLS or books.cached_tokens is None:
        why = "no server says" if books.calls >= LEAST_CALLS else f"only {books.calls} local calls in the last day"
        return unknown("cache hits", f"how much of the prompts is found in the cache is unknown: {why}")
    rate = books.cached_tokens / max(1, books.prompt_tokens)
    says = f"{rate:.0%} of the prompt tokens of the last day were found in the cache"
    mean = books.prompt_tokens / books.calls
    worst = [
        agent
        for agent in books.agents
        if agent.calls >= LEAST_CALLS
        and agent.prompt_tokens / agent.calls >= LONG_PROMPT
        and agent.cached_tokens < LITTLE_REUSE * agent.prompt_tokens
    ]
    if worst or (not books.agents and rate < LITTLE_REUSE and mean >= LONG_PROMPT):
        who = max(worst, key=lambda agent: agent.prompt_tokens - agent.cached_tokens).name if worst else ""
        named = f"; {who} pays for most of the rest" if who else ""
        return amber(
            "cache hits",
            f"{says}{named}",
            "Put what changes (a time, a topic) last in the prompt, and give the cache room: engine.cache_ram_mib.",
        )
    return green("cache hits", says)


def prices(facts: Facts) -> Finding:
    """How old the prices are."""
    known = facts.knowledge
    remedy = "breakeven prices update"
    if known.prices_problem is not None:
        return red("prices", f"the update that was fetched is not used: {known.prices_problem}", remedy)
    if known.prices_age_days is None:
        return amber("prices", f"{known.prices}, as it came with the program; its rows are not dated", remedy)
    says = f"{known.prices}, {known.prices_age_days} days old"
    return amber("prices", says, remedy) if known.prices_age_days > OLD_PRICES_DAYS else green("prices", says)


def measured(facts: Facts) -> Finding:
    """Whether this box was measured."""
    known = facts.knowledge
    if known.measured is None:
        return amber(
            "measured speed",
            "this box was not measured with this model: plans and predicted waits use what others published",
            "breakeven measure --quick",
        )
    if known.measured_noisy:
        return amber("measured speed", known.measured, "Measure again when nothing else runs: breakeven measure")
    return green("measured speed", known.measured)
