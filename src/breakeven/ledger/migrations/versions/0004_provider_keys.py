"""Which of a provider's keys an attempt was made with, in the attempts and in the key of the daily totals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
INSTANT = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
KEY = ("day", "origin", "provider", "provider_key", "locality", "model", "outcome", "kept")
CARRIED = ("day", "origin", "provider", "locality", "model", "outcome", "kept", "first_at", "last_at")
COUNTS = (
    *("attempts", "calls", "escalations"),
    *("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"),
    *("tokens_unknown", "reasoning_unknown", "cache_unknown"),
    *("box_seconds_unknown", "watt_hours_unknown", "billed_usd_unknown", "marginal_energy_usd_unknown"),
    *("idle_share_usd_unknown", "amortisation_share_usd_unknown", "counterfactual_usd_unknown"),
    *("billed_usd_ranged", "counterfactual_usd_ranged"),
)
SUMS = (
    *("box_seconds", "watt_hours", "billed_usd", "marginal_energy_usd", "idle_share_usd"),
    *("amortisation_share_usd", "counterfactual_usd"),
    *("billed_least_usd", "billed_most_usd", "counterfactual_least_usd", "counterfactual_most_usd"),
)


def upgrade() -> None:
    """Widen ``attempts``; widen ``daily_totals`` and its key."""
    op.add_column("attempts", sa.Column("provider_key", sa.Text))
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("daily_totals", sa.Column("provider_key", sa.Text, nullable=False, server_default=""))
        op.drop_constraint("daily_totals_pkey", "daily_totals", type_="primary")
        op.create_primary_key("daily_totals_pkey", "daily_totals", list(KEY))
        op.alter_column("daily_totals", "provider_key", server_default=None)
        return
    # SQLite cannot change a primary key: a table with the new one takes the place of the old.
    op.rename_table("daily_totals", "daily_totals_0003")
    op.create_table(
        "daily_totals",
        sa.Column("day", sa.Date, primary_key=True),
        *(sa.Column(name, sa.Text, primary_key=True) for name in KEY[1:-1]),
        sa.Column("kept", sa.Boolean, primary_key=True),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
        *(sa.Column(name, EXACT, nullable=False) for name in SUMS),
    )
    old = sa.table("daily_totals_0003", *(sa.column(name) for name in (*CARRIED, *COUNTS, *SUMS)))
    new = sa.table("daily_totals", sa.column("provider_key"), *(sa.column(column.name) for column in old.columns))
    op.execute(new.insert().from_select(list(new.columns), sa.select(sa.literal_column("''"), *old.columns)))
    op.drop_table("daily_totals_0003")
