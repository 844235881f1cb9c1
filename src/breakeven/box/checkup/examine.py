"""All checks in the order of the page."""

from __future__ import annotations

from breakeven.box.checkup import backend_checks, books_checks, machine_checks, safety_checks
from breakeven.box.checkup.facts import Facts
from breakeven.box.checkup.finding import Finding


def examine(facts: Facts) -> list[Finding]:
    """Judge the facts."""
    findings = [
        safety_checks.configuration(facts),
        backend_checks.gateway(facts),
        *backend_checks.backends(facts),
        backend_checks.memory_fit(facts),
        backend_checks.prompt_cache(facts),
        backend_checks.prefixes(facts),
        machine_checks.speed(facts),
        books_checks.cache(facts),
        books_checks.measured(facts),
        machine_checks.memory(facts),
        machine_checks.heat(facts),
        machine_checks.power(facts),
        machine_checks.disk(facts),
        machine_checks.clock(facts),
        books_checks.ledger(facts),
        books_checks.prices(facts),
        safety_checks.ports(facts),
        safety_checks.secrets(facts),
    ]
    return [finding for finding in findings if finding is not None]
