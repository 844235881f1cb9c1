"""Rate limits of cloud accounts, as their providers state them."""

from __future__ import annotations

from functools import cache

from breakeven.catalog.figures import read_data
from breakeven.economics.limits import AccountLimits
from breakeven.errors import InputError


@cache
def accounts() -> tuple[AccountLimits, ...]:
    """All tiers of the catalogue; the source of each carries its date."""
    return tuple(_tiers().values())


def account_tier(provider: str, tier: int) -> AccountLimits:
    """The standard tier of a provider by its number.

    Raises:
        InputError: when the catalogue does not have it, with those that it has.
    """
    found = _tiers().get((provider, tier))
    if found is None:
        known = ", ".join(f"{name} {number}" for name, number in _tiers())
        raise InputError(f"tier {tier} of {provider!r}: not in the catalogue", remedy=f"It has {known}.")
    return found


@cache
def _tiers() -> dict[tuple[str, int], AccountLimits]:
    return {
        (row["provider"], row["tier"]): AccountLimits(
            name=row["name"],
            requests_per_minute=row.get("requests_per_minute"),
            tokens_per_minute=row.get("tokens_per_minute"),
            input_tokens_per_minute=row.get("input_tokens_per_minute"),
            output_tokens_per_minute=row.get("output_tokens_per_minute"),
            source=f"{row['source']}, {row['as_of']}",
        )
        for row in read_data("limits.toml")["accounts"]
    }
