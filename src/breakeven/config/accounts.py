"""Who may call, and what may be spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field

from breakeven.config.section import SecretReference, Section

BUDGET_AMOUNT = r"^\$?\d+(\.\d+)?/(day|month|total)$"
"""A budget in one word, ``$5/day``."""


class KeySettings(Section):
    """A key that callers present as `Authorization: Bearer …`; the table's name is its label in the ledger."""

    secret: SecretReference
    """Where the key is kept, for instance `env:BREAKEVEN_KEY`."""
    agent: str | None = None
    """Agent that its calls are booked under, whatever a caller says."""
    task: str | None = None
    """Task that its calls are booked under, whatever a caller says."""
    data: Literal["local_only", "shareable"] | None = None
    """Label of the data that its callers send; `local_only` never leaves your machines."""
    rpm: int | None = Field(default=None, ge=1)
    """Most requests a minute, in each gateway process."""
    tpm: int | None = Field(default=None, ge=1)
    """Most tokens a minute, in each gateway process."""
    budget: str | None = Field(default=None, pattern=BUDGET_AMOUNT)
    """A budget of its own, for instance `$5/day`, `$20/month` or `$100/total`."""


class BudgetSettings(Section):
    """Money that calls may spend. A call must fit every budget that covers it; unset names cover all."""

    usd: Decimal = Field(ge=0)
    """Most dollars spent in each period."""
    per: Literal["day", "month", "total"] = "day"
    """The period, in UTC: days start at midnight, months on the first."""
    key: str | None = None
    """Only calls of this key."""
    task: str | None = None
    """Only calls of this task."""
    agent: str | None = None
    """Only calls of this agent."""
    provider: str | None = None
    """Only attempts at this provider."""
    model: str | None = None
    """Only attempts at this model, by the name its provider knows it by."""
    on_exhausted: Literal["refuse", "local"] = "refuse"
    """What happens to a call whose price no longer fits: `refuse` it, or serve it with a `local` model."""
    counts: Literal["billed", "all"] = "billed"
    """`billed`: what providers invoice. `all`: also the energy, idle time and write-off of local calls."""
    unknown_cost: Literal["refuse", "allow"] = "refuse"
    """A remote attempt whose highest price is unknown is refused, or allowed and counted once its cost is known."""


class IdempotencySettings(Section):
    """How answers to calls with an `Idempotency-Key` are kept; the content of no other call is stored."""

    hours: float = Field(default=24.0, gt=0)
    """How long the same key gets the same answer."""
    max_answer_bytes: int = Field(default=4 * 1024**2, ge=1024)
    """Longest answer kept; to the key of a longer one the answer is 409, since it was paid for already."""
    max_bytes: int = Field(default=256 * 1024**2, ge=1024)
    """Most bytes kept in all; beyond that the oldest answers go before their time."""
