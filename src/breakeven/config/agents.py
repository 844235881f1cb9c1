"""How the fleet of agents runs; the agents themselves are defined in files of their own."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from breakeven.config.section import SecretReference, Section


class AgentsSettings(Section):
    """Where agents are defined, what they ask and where they keep their work."""

    folder: Path = Path("agents")
    """Folder with a file for each agent; relative to where the command is run."""
    url: str | None = None
    """SQLAlchemy URL of their database (`sqlite:///…` or `postgresql+psycopg://…`); by default SQLite in the home
    folder, worked on by one process. Several workers share a PostgreSQL."""
    base_url: str | None = None
    """Server in the OpenAI dialect that answers their calls; by default the gateway of this configuration."""
    key: SecretReference | None = None
    """Key sent to that server."""
    lease_seconds: float = Field(default=15.0, ge=1)
    """How long a worker on another machine may be silent before its work is taken over."""
    drain_seconds: float = Field(default=60.0, ge=0)
    """How long items in hand may go on after SIGTERM; what is not finished is taken up by the next worker."""
    traces: bool = False
    """Send OpenTelemetry spans of runs, items and calls, as `gateway.traces` does; nothing of what they say."""
    retention_days: float = Field(default=30.0, gt=0)
    """How long finished items, runs and the records of their steps are kept."""
