"""Whether an agent takes items, for programs that bring some; the traces of runs under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen ``agents_states``; create ``agents_traces``."""
    op.add_column("agents_states", sa.Column("takes_items", sa.Boolean))
    op.create_table(
        "agents_traces",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("traceparent", sa.Text, nullable=False),
    )
