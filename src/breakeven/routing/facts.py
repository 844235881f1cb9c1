"""What the planner knows: the call as it came, and each target as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from breakeven.config import Capability
from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import Label
from breakeven.providers.base import Priority

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


class CallFacts(msgspec.Struct, frozen=True):
    """A call, before anything is decided.

    Attributes:
        model: what it asks for: an alias, ``auto`` or ``task:NAME``.
        task: the task it names otherwise, in a header or in ``metadata``.
        label / label_source: the label of its data and who gave it, from `breakeven.routing.policy.strictest`;
            the task's own label is added by the planner.
        prompt_tokens_estimate / prompt_bytes: the prompt's size, estimated and as text in UTF-8.
        max_output_tokens: the limit it asks for.
        needs: capabilities that the answer takes.
        stream: whether it wants a stream.
        deadline_seconds: from now; ``None`` when it names none.
        agent: who calls.
        priority: the place in the queue that it asks for.
    """

    model: str
    label: Label
    label_source: str
    task: str | None = None
    prompt_tokens_estimate: int = 0
    prompt_bytes: int = 0
    max_output_tokens: int | None = None
    needs: frozenset[Capability] = frozenset()
    stream: bool = False
    deadline_seconds: float | None = None
    agent: str | None = None
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class TargetState:
    """A model that could serve the call, as it stands now.

    Attributes:
        alias: the name under which it is configured.
        provider / model / locality: whom that means.
        context / max_output_tokens: tokens it takes and gives; ``None`` when unknown.
        capabilities: ``None`` when unknown.
        breaker: its circuit breaker.
        wait_seconds: predicted seconds until the whole answer is there: queue, loading, prefill, decode.
        expected_usd: what the call adds to the bill there, marginal energy for a local one.
        budget_left_usd: the least that any budget of this call has left; ``None`` without a budget.
        ready: whether it can be asked at all. A model that is loading is ready: the load is part of its wait.
        note: why it is not ready.
        retains / trains: whether it keeps what it is sent, and may train on it; assumed when unknown.
    """

    alias: str
    provider: str
    model: str
    locality: Locality
    context: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    breaker: BreakerState = "closed"
    wait_seconds: float | None = None
    expected_usd: Decimal | None = None
    budget_left_usd: Decimal | None = None
    ready: bool = True
    note: str = ""
    retains: bool = True
    trains: bool = True
