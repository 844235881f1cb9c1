"""Calls, their attempts, and the daily totals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
INSTANT = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
TOKENS = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
MONEY = ("billed_usd", "marginal_energy_usd", "idle_share_usd", "amortisation_share_usd", "counterfactual_usd")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("task", sa.Text),
    )
    op.create_index("ix_calls_received_at", "calls", ["received_at"])
    op.create_table(
        "attempts",
        sa.Column("call_id", sa.Text, sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("locality", sa.Text, nullable=False),
        sa.Column("model_asked", sa.Text, nullable=False),
        sa.Column("model_served", sa.Text),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("counted_by", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in TOKENS),
        sa.Column("total_seconds", sa.Double, nullable=False),
        *(sa.Column(f"{phase}_seconds", sa.Double) for phase in ("queue", "load", "prefill", "decode", "first_token")),
        sa.Column("box_seconds", sa.Double),
        sa.Column("watt_hours", sa.Double),
        sa.Column("power_meter", sa.Text),
        *(sa.Column(name, EXACT) for name in MONEY),
        sa.Column("price_source", sa.Text),
        sa.Column("price_effective", sa.Text),
        sa.Column("price_snapshot", sa.Text),
        sa.Column("reference_model", sa.Text),
        sa.Column("reference_source", sa.Text),
        sa.Column("reference_effective", sa.Text),
        sa.Column("reference_snapshot", sa.Text),
    )
    sums = ("box_seconds", "watt_hours", *MONEY)
    counts = ("attempts", "calls", "escalations", *TOKENS, "tokens_unknown", "reasoning_unknown")
    op.create_table(
        "daily_totals",
        sa.Column("day", sa.Date, primary_key=True),
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("origin", "provider", "locality", "model", "outcome")
        ),
        sa.Column("kept", sa.Boolean, primary_key=True),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        *(sa.Column(f"{name}_unknown", sa.BigInteger, nullable=False) for name in sums),
        *(sa.Column(name, EXACT, nullable=False) for name in sums),
    )
    op.create_table(
        "daily_provenance",
        sa.Column("day", sa.Date, primary_key=True),
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("origin", "figure", "subject", "source", "effective", "snapshot")
        ),
        sa.Column("attempts", sa.BigInteger, nullable=False),
    )
