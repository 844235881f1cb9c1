"""Imported usage: buckets, durations nobody knows, prompts of which nobody says what was cached, ranges of money."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
INSTANT = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
TOKENS = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
RANGE_ENDS = ("billed_least_usd", "billed_most_usd", "counterfactual_least_usd", "counterfactual_most_usd")
PROVENANCE = (
    "price_source",
    "price_effective",
    "price_snapshot",
    "reference_model",
    "reference_source",
    "reference_effective",
    "reference_snapshot",
)


def upgrade() -> None:
    """Loosen and widen ``attempts``, widen ``daily_totals``, create ``usage_buckets``."""
    with op.batch_alter_table("attempts") as attempts:
        attempts.alter_column("total_seconds", existing_type=sa.Double(), nullable=True)
        attempts.add_column(sa.Column("cache_known", sa.Boolean, nullable=False, server_default=sa.true()))
        for name in RANGE_ENDS:
            attempts.add_column(sa.Column(name, EXACT))
    for name in ("cache_unknown", "billed_usd_ranged", "counterfactual_usd_ranged"):
        op.add_column("daily_totals", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    for name in RANGE_ENDS:
        op.add_column("daily_totals", sa.Column(name, EXACT, nullable=False, server_default="0"))
    op.create_table(
        "usage_buckets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("start_at", INSTANT, nullable=False),
        sa.Column("end_at", INSTANT, nullable=False),
        sa.Column("requests", sa.BigInteger),
        sa.Column("batch", sa.Boolean),
        sa.Column("account", sa.Text),
        sa.Column("variant", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in TOKENS),
        sa.Column("cache_known", sa.Boolean, nullable=False),
        *(sa.Column(name, EXACT) for name in ("billed_usd", "counterfactual_usd", *RANGE_ENDS)),
        *(sa.Column(name, sa.Text) for name in PROVENANCE),
    )
    op.create_index("ix_usage_buckets_start_at", "usage_buckets", ["start_at"])
