"""Calls and targets as tests start from them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from breakeven import config
from breakeven.routing.facts import CallFacts, TargetState

LOCAL = TargetState("local", "engine", "llama", "local", context=8192, wait_seconds=4.0, expected_usd=Decimal("0.0001"))
FRONTIER = TargetState(
    "frontier", "claude", "sonnet", "remote", context=200_000, wait_seconds=2.0, expected_usd=Decimal("0.01")
)
STATES = (LOCAL, FRONTIER)


def call(model: str = "auto", *, label: Any = "shareable", **given: Any) -> CallFacts:
    return CallFacts(model=model, label=label, label_source="the call", **given)


def settings(**document: Any) -> config.Settings:
    return config.parse(document)


def task(**keys: Any) -> config.Settings:
    """Settings with one task, ``work``."""
    return settings(tasks={"work": keys})
