"""Run the revisions on the connection that ``breakeven.agents.database`` hands over."""

from __future__ import annotations

from alembic import context

from breakeven.agents.database import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], transactional_ddl=True, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
