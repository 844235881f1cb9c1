"""The tables that gateways share, beside the ledger's in the same database."""

from __future__ import annotations

import sqlalchemy as sa

from breakeven.ledger.schema import ExactDecimal, Instant, metadata

virtual_keys = sa.Table(
    "virtual_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Column("agent", sa.Text),
    sa.Column("task", sa.Text),
    sa.Column("data", sa.Text),
    sa.Column("rpm", sa.Integer),
    sa.Column("tpm", sa.Integer),
    sa.Column("budget", sa.Text),
)

key_versions = sa.Table(
    "key_versions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)
"""One row, counted up by every change of ``virtual_keys``: what running gateways watch."""

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seen_at", Instant, nullable=False),
)
"""Gateways that are alive, by the last time they said so."""

budget_balances = sa.Table(
    "budget_balances",
    metadata,
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("spent", ExactDecimal, nullable=False),
    sa.Column("reserved", ExactDecimal, nullable=False),
)

budget_reservations = sa.Table(
    "budget_reservations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("process", sa.Text, nullable=False, index=True),
    sa.Column("amount", ExactDecimal, nullable=False),
    sa.Column("reserved_at", Instant, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
)
"""Money held by attempts in flight. ``released``: its process was taken for dead; should it settle after all, what it
spent still counts."""

idempotent_calls = sa.Table(
    "idempotent_calls",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("lease", sa.Text, nullable=False),
    sa.Column("expires_at", Instant, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("headers", sa.Text),
    sa.Column("body", sa.LargeBinary),
    sa.Column("size", sa.BigInteger, nullable=False),
)
"""Answers kept for callers that sent an idempotency key; ``status`` is null while the call is in flight, ``body`` null
when the answer was too long to keep."""

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
)
"""What circuit breakers of other gateways found."""
