"""One TOML file becomes typed settings."""

from breakeven.config.accounts import BudgetSettings, IdempotencySettings, KeySettings
from breakeven.config.load import default_home, find_file, load, parse
from breakeven.config.providers import ModelSettings, ProviderSettings
from breakeven.config.routing import NO_GATES, GateSettings, PolicySettings, TaskSettings
from breakeven.config.section import Capability
from breakeven.config.settings import (
    BoxSettings,
    EngineSettings,
    GatewaySettings,
    LedgerSettings,
    PriceOverride,
    ReferenceSettings,
    Settings,
)

__all__ = [
    "NO_GATES",
    "BoxSettings",
    "BudgetSettings",
    "Capability",
    "EngineSettings",
    "GateSettings",
    "GatewaySettings",
    "IdempotencySettings",
    "KeySettings",
    "LedgerSettings",
    "ModelSettings",
    "PolicySettings",
    "PriceOverride",
    "ProviderSettings",
    "ReferenceSettings",
    "Settings",
    "TaskSettings",
    "default_home",
    "find_file",
    "load",
    "parse",
]
