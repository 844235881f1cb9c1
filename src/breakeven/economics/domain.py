"""The domain of each input: what is negative, zero, not a number or absurd is refused by name, never computed with."""

from __future__ import annotations

import math
from decimal import Decimal

from breakeven.errors import ScenarioError


def require_finite(key: str, value: Decimal | float) -> None:
    """Refuse NaN and infinities."""
    if not math.isfinite(value):
        raise ScenarioError(key, str(value), "a finite number")


def require_positive(key: str, value: Decimal | float) -> None:
    """Refuse everything that is not greater than zero."""
    require_finite(key, value)
    if value <= 0:
        raise ScenarioError(key, str(value), "a number greater than 0")


def require_not_negative(key: str, value: Decimal | float) -> None:
    """Refuse everything below zero."""
    require_finite(key, value)
    if value < 0:
        raise ScenarioError(key, str(value), "0 or more")


def require_share(key: str, value: Decimal | float) -> None:
    """Refuse everything outside 0 to 1."""
    require_finite(key, value)
    if not 0 <= value <= 1:
        raise ScenarioError(key, str(value), "a share from 0 to 1")
