"""The tables, the same on SQLite and on PostgreSQL, and how money and time are kept in them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

MONEY_PARTS = ("billed", "marginal_energy", "idle_share", "amortisation_share", "counterfactual")
RANGED_PARTS = ("billed", "counterfactual")
"""Money that may be a range where an import leaves something open."""
RANGE_ENDS = tuple(f"{part}_{end}_usd" for part in RANGED_PARTS for end in ("least", "most"))
TOKEN_CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


def utc(seconds: float) -> datetime:
    """A Unix time as a moment.

    Raises:
        ValueError: it lies outside the years 1 to 9999.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is not a Unix time in seconds") from error


class ExactDecimal(TypeDecorator[Decimal]):
    """Any finite Decimal, digit for digit: NUMERIC on PostgreSQL, text on SQLite, which would make it a float."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The column type of this database."""
        return dialect.type_descriptor(sa.Numeric() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """What the driver is given."""
        if value is None:
            return None
        if not value.is_finite():
            raise ValueError(f"{value} is not an amount")
        return value if dialect.name == "postgresql" else format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """What the reader gets."""
        return None if value is None else Decimal(value)


class Instant(TypeDecorator[float]):
    """Unix seconds to the microsecond: TIMESTAMP WITH TIME ZONE on PostgreSQL, ISO 8601 in UTC on SQLite."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The column type of this database."""
        return dialect.type_descriptor(sa.DateTime(timezone=True) if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        """What the driver is given."""
        if value is None:
            return None
        moment = utc(value)
        return moment if dialect.name == "postgresql" else moment.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:  # noqa: ARG002
        """What the reader gets."""
        if value is None:
            return None
        moment: datetime = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.timestamp()


metadata = sa.MetaData()

PROVENANCE = (
    *(f"price_{what}" for what in ("source", "effective", "snapshot")),
    "reference_model",
    *(f"reference_{what}" for what in ("source", "effective", "snapshot")),
)

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("received_at", Instant, nullable=False, index=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("task", sa.Text),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("call_id", sa.Text, sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("locality", sa.Text, nullable=False),
    sa.Column("model_asked", sa.Text, nullable=False),
    sa.Column("model_served", sa.Text),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("provider_key", sa.Text),
    sa.Column("counted_by", sa.Text, nullable=False),
    *(sa.Column(name, sa.BigInteger) for name in TOKEN_CLASSES),
    sa.Column("cache_known", sa.Boolean, nullable=False),
    *(
        sa.Column(f"{phase}_seconds", sa.Double)
        for phase in ("total", "queue", "load", "prefill", "decode", "first_token")
    ),
    sa.Column("box_seconds", sa.Double),
    sa.Column("watt_hours", sa.Double),
    sa.Column("power_meter", sa.Text),
    *(sa.Column(f"{part}_usd", ExactDecimal) for part in MONEY_PARTS),
    *(sa.Column(name, ExactDecimal) for name in RANGE_ENDS),
    *(sa.Column(name, sa.Text) for name in PROVENANCE),
)

usage_buckets = sa.Table(
    "usage_buckets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("start_at", Instant, nullable=False, index=True),
    sa.Column("end_at", Instant, nullable=False),
    sa.Column("requests", sa.BigInteger),
    sa.Column("batch", sa.Boolean),
    sa.Column("account", sa.Text),
    sa.Column("variant", sa.Text, nullable=False),
    *(sa.Column(name, sa.BigInteger) for name in TOKEN_CLASSES),
    sa.Column("cache_known", sa.Boolean, nullable=False),
    *(sa.Column(f"{part}_usd", ExactDecimal) for part in RANGED_PARTS),
    *(sa.Column(name, ExactDecimal) for name in RANGE_ENDS),
    *(sa.Column(name, sa.Text) for name in PROVENANCE),
)

TOTAL_KEY = ("day", "origin", "provider", "provider_key", "locality", "model", "outcome", "kept")
AMOUNTS = ("box_seconds", "watt_hours", *(f"{part}_usd" for part in MONEY_PARTS))
EXACT_SUMS = (*AMOUNTS, *RANGE_ENDS)
COUNTS = (
    "attempts",
    "calls",
    "escalations",
    *TOKEN_CLASSES,
    "tokens_unknown",
    "reasoning_unknown",
    "cache_unknown",
    *(f"{name}_unknown" for name in AMOUNTS),
    *(f"{part}_usd_ranged" for part in RANGED_PARTS),
)

daily_totals = sa.Table(
    "daily_totals",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    *(sa.Column(name, sa.Text, primary_key=True) for name in TOTAL_KEY[1:-1]),
    sa.Column("kept", sa.Boolean, primary_key=True),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    *(sa.Column(name, ExactDecimal, nullable=False) for name in EXACT_SUMS),
)

PROVENANCE_KEY = ("day", "origin", "figure", "subject", "source", "effective", "snapshot")

daily_provenance = sa.Table(
    "daily_provenance",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    *(sa.Column(name, sa.Text, primary_key=True) for name in PROVENANCE_KEY[1:]),
    sa.Column("attempts", sa.BigInteger, nullable=False),
)
