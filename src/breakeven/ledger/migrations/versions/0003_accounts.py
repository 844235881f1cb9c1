"""Keys, budgets, idempotent calls and breakers' verdicts, shared by gateways."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
INSTANT = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "virtual_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        *(sa.Column(name, sa.Text) for name in ("agent", "task", "data")),
        sa.Column("rpm", sa.Integer),
        sa.Column("tpm", sa.Integer),
        sa.Column("budget", sa.Text),
    )
    key_versions = op.create_table(
        "key_versions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(key_versions, [{"id": 1, "version": 0}])
    op.create_table(
        "processes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("seen_at", INSTANT, nullable=False),
    )
    op.create_table(
        "budget_balances",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("budget", "scope", "period")),
        *(sa.Column(name, EXACT, nullable=False) for name in ("spent", "reserved")),
    )
    op.create_table(
        "budget_reservations",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("id", "budget", "scope", "period")),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.Column("reserved_at", INSTANT, nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
    )
    op.create_index("ix_budget_reservations_process", "budget_reservations", ["process"])
    op.create_table(
        "idempotent_calls",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("scope", "key")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("fingerprint", "process", "lease")),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_idempotent_calls_expires_at", "idempotent_calls", ["expires_at"])
    op.create_table(
        "verdicts",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("provider", "model")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
    )
