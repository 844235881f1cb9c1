"""Units: money, tokens, energy, time; and the one place where figures are rounded for display.

Money is ``Decimal`` US dollars, tokens are ``int``, energy is watt-hours (``float``), durations are
seconds (``float``). Unknown is ``None`` and is shown as "unknown", never as zero.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

Usd: TypeAlias = Decimal
Tokens: TypeAlias = int
WattHours: TypeAlias = float
Seconds: TypeAlias = float

ZERO_USD = Decimal(0)
TOKENS_PER_MILLION = Decimal(1_000_000)
HOURS_PER_MONTH = 730  # 8,760 hours a year over 12; not 30 days
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
GIB = 1024**3
MIB = 1024**2
GB = 1000**3

UNKNOWN = "unknown"


def usd(value: Decimal | None, places: int = 2) -> str:
    """Dollars for display, rounded half to even; small amounts keep six places rather than vanish.

    >>> usd(Decimal("166.6666"))
    '$166.67'
    >>> usd(Decimal("0.00004"))
    '$0.000040'
    >>> usd(Decimal("-3.5"))
    '-$3.50'
    >>> usd(None)
    'unknown'
    """
    if value is None:
        return UNKNOWN
    magnitude = abs(value)
    if magnitude and magnitude < Decimal("0.01") and places < 6:
        places = 6
    rounded = magnitude.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{'-' if value < 0 and rounded else ''}${rounded:,}"


def tokens(value: int | None) -> str:
    """A count of tokens for display: exact below ten thousand, then k, M, B.

    >>> tokens(9_999), tokens(63_830_000), tokens(28_300_000_000)
    ('9,999', '63.8 M', '28.3 B')
    """
    if value is None:
        return UNKNOWN
    for size, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= max(size, 10_000):
            return f"{value / size:.1f} {suffix}"
    return f"{value:,}"


def watt_hours(value: float | None) -> str:
    """Energy for display in Wh or kWh.

    >>> watt_hours(0.0042), watt_hours(1234.0), watt_hours(None)
    ('0.0042 Wh', '1.23 kWh', 'unknown')
    """
    if value is None:
        return UNKNOWN
    return f"{value / 1000:.2f} kWh" if abs(value) >= 1000 else f"{value:.3g} Wh"
