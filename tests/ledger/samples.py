"""Calls to fill a ledger with."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Durations, Money, PriceProvenance

NOVEMBER = 1793491200.0  # 2026-11-01T00:00:00Z
DAY = 86_400.0
LIST_PRICE = PriceProvenance("genai-prices 0.2.3", "2026-06-01", "0123abcd")


def local_attempt(number: int = 1, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "number": number,
        "provider": "engine",
        "locality": "local",
        "model_asked": "demo",
        "started_at": NOVEMBER,
        "durations": Durations(total=2.5, queue=0.125, prefill=0.5, decode=1.5, first_token=0.75),
        "outcome": "completed",
        "counted_by": "engine",
        "reason": "the only provider of this model",
        "tokens": TokenCounts(uncached_input=1000, cache_read=200, output=300),
        "box_seconds": 2.0,
        "watt_hours": 0.075,
        "power_meter": "modelled",
        "money": Money(
            billed=Decimal(0),
            marginal_energy=Decimal("0.00001275"),
            idle_share=Decimal("0.0000009"),
            amortisation_share=Decimal("0.000126838"),
            counterfactual=Decimal("0.00502"),
        ),
        "reference_model": "anthropic/claude-sonnet-5-5",
        "reference_price": LIST_PRICE,
    }
    return Attempt(**fields | changes)


def remote_attempt(number: int = 1, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "provider": "openai",
        "provider_key": "env:OPENAI_API_KEY",
        "locality": "remote",
        "model_asked": "gpt-6",
        "model_served": "gpt-6-2026-05",
        "counted_by": "provider",
        "box_seconds": None,
        "watt_hours": None,
        "power_meter": None,
        "money": Money(billed=Decimal("0.0041"), counterfactual=Decimal("0.00502")),
        "price": LIST_PRICE,
    }
    return local_attempt(number, **fields | changes)


def call(name: str = "call-1", *attempts: Attempt, at: float = NOVEMBER, **changes: Any) -> Call:
    fields: dict[str, Any] = {
        "id": name,
        "received_at": at,
        "endpoint": "/v1/chat/completions",
        "model": "local",
        "stream": True,
        "outcome": attempts[-1].outcome if attempts else "completed",
        "attempts": attempts or (local_attempt(),),
    }
    return Call(**fields | changes)
