"""Rate limits of cloud accounts, as their providers state them."""

from __future__ import annotations

from functools import cache

from breakeven.catalog.figures import read_data
from breakeven.economics.limits import AccountLimits


@cache
def accounts() -> tuple[AccountLimits, ...]:
    """All tiers of the catalogue; the source of each carries its date."""
    return tuple(
        AccountLimits(
            name=row["name"],
            requests_per_minute=row.get("requests_per_minute"),
            tokens_per_minute=row.get("tokens_per_minute"),
            input_tokens_per_minute=row.get("input_tokens_per_minute"),
            output_tokens_per_minute=row.get("output_tokens_per_minute"),
            source=f"{row['source']}, {row['as_of']}",
        )
        for row in read_data("limits.toml")["accounts"]
    )
