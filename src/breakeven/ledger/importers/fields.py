"""What a field of a log says: moments, counts, money. Pure; what is wrong raises ``ValueError``."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from breakeven.ledger.schema import utc

MILLISECONDS_FROM = 1e11
MICROSECONDS_FROM = 1e14
NANOSECONDS_FROM = 1e17
"""Unix times as large as these are in finer units than seconds: in seconds they lie beyond the year 5000."""

EARLIEST = 1_262_304_000.0
LATEST = 4_102_444_800.0
"""The years 2010 to 2100; a time outside of them is a mistake in the file."""

LONGEST_NATIVE_ID = 200
MOST = 1 << 53
"""Tokens; no call and no bucket holds as many."""


def moment(text: str) -> float:
    """Unix seconds of an ISO 8601 time, in UTC where it names no zone, or of a Unix time in any unit.

    >>> moment("2026-11-01T00:00:00.1234567Z"), moment("1793491200000")
    (1793491200.123456, 1793491200.0)
    """
    text = text.strip()
    try:
        if "-" in text[1:]:
            parsed = datetime.fromisoformat(text)
            seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        else:
            seconds = _in_seconds(float(text))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time; expected ISO 8601 or a Unix time") from None
    return checked_moment(seconds)


def checked_moment(seconds: float) -> float:
    """A Unix time to the microsecond, if it can be one."""
    if not EARLIEST <= seconds < LATEST:
        raise ValueError(f"{seconds} lies outside the years 2010 to 2100")
    return round(seconds, 6)


def _in_seconds(number: float) -> float:
    for start, unit in ((NANOSECONDS_FROM, 1e9), (MICROSECONDS_FROM, 1e6), (MILLISECONDS_FROM, 1e3)):
        if abs(number) >= start:
            return number / unit
    return number


def count(value: object) -> int:
    """A count of tokens or requests, written as a whole number: ``1200``, ``"1200"``, ``1200.0``."""
    try:
        if isinstance(value, str):
            number = int(value) if value.strip().isdecimal() else _whole(float(value))
        elif isinstance(value, float):
            number = _whole(value)
        else:
            number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    except (ValueError, OverflowError):
        number = -1
    if not 0 <= number < MOST:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return number


def _whole(number: float) -> int:
    return int(number) if number.is_integer() else -1


def dollars(value: object) -> Decimal:
    """An amount as it is written, digit for digit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"{value!r} is no amount")
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is no amount") from None
    if not amount.is_finite() or abs(amount.adjusted()) > 30:
        raise ValueError(f"{value!r} is no amount")
    return amount


def native_id(source: str, *parts: str) -> str:
    """An id that the same record has in every file: the source, and what the source itself tells records apart by."""
    joined = ":".join((source, *parts))
    return joined if len(joined) <= LONGEST_NATIVE_ID else f"{source}:{digest(*parts)}"


def digest(*parts: object) -> str:
    """A short hash of values, for records without an id of their own."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def on_this_machine(address: str) -> bool:
    """Whether a host name or the host of a URL is loopback."""
    host = address.split("://", 1)[-1].split("/", 1)[0]
    host = (
        host[1:].split("]", 1)[0] if host.startswith("[") else host.rsplit(":", 1)[0] if host.count(":") == 1 else host
    )
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def day_of(seconds: float) -> str:
    """The UTC day of a Unix time."""
    return utc(seconds).date().isoformat()


class Ordinals:
    """Tells rows without an id apart that are alike in everything: the first of a file, the second, and so on.

    Rows alike hold the same time, so they lie close together; those further apart than ``WINDOW`` rows are taken for
    the same row, which keeps memory small in files of any size.
    """

    WINDOW = 50_000

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def of(self, name: str) -> int:
        """How many rows of this name came before."""
        ordinal = self._recent.get(name, self._older.get(name, 0))
        if len(self._recent) >= self.WINDOW:
            self._recent, self._older = {}, self._recent
        self._recent[name] = ordinal + 1
        return ordinal
