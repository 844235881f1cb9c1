"""Items, runs, what is remembered of agents, workers: as they were before the schema had revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create what is missing: a database of that time has all of it."""
    op.create_table(
        "agents_items",
        sa.Column("id", IDENTITY, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("agent", "key")),
        sa.Column("payload", sa.Text),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("origin", "state")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("priority", "attempt")),
        sa.Column("from_step", sa.Integer),
        sa.Column("continues", sa.Boolean, nullable=False),
        sa.Column("takeovers", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("run", "worker")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("enqueued_at", "not_before")),
        *(sa.Column(name, sa.Double) for name in ("started_at", "finished_at")),
        *(sa.Column(name, sa.Text) for name in ("step", "error")),
        sa.UniqueConstraint("agent", "key"),
        if_not_exists=True,
    )
    by_state = ["agent", "state", "priority", "id"]
    op.create_index("agents_items_by_state", "agents_items", by_state, if_not_exists=True)
    op.create_index("agents_items_by_run", "agents_items", ["run", "state"], if_not_exists=True)
    op.create_table(
        "agents_runs",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("agent", "trigger")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("scheduled_for", "due_at")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("worker", sa.Text),
        *(sa.Column(name, sa.Double) for name in ("started_at", "finished_at")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("taken", "succeeded", "failed")),
        sa.Column("error", sa.Text),
        if_not_exists=True,
    )
    op.create_index("agents_runs_by_state", "agents_runs", ["state", "agent"], if_not_exists=True)
    op.create_index("agents_runs_by_time", "agents_runs", ["scheduled_for"], if_not_exists=True)
    op.create_table(
        "agents_states",
        sa.Column("agent", sa.Text, primary_key=True),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("cursor", sa.Text),
        if_not_exists=True,
    )
    op.create_table(
        "agents_workers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("process_started", "started_at", "heartbeat_at")),
        sa.Column("state", sa.Text, nullable=False),
        if_not_exists=True,
    )
