"""One TOML file becomes typed settings."""

from breakeven.config.load import default_home, find_file, load, parse
from breakeven.config.settings import (
    BoxSettings,
    EngineSettings,
    GatewaySettings,
    KeySettings,
    LedgerSettings,
    ModelSettings,
    PriceOverride,
    ProviderSettings,
    ReferenceSettings,
    Settings,
)

__all__ = [
    "BoxSettings",
    "EngineSettings",
    "GatewaySettings",
    "KeySettings",
    "LedgerSettings",
    "ModelSettings",
    "PriceOverride",
    "ProviderSettings",
    "ReferenceSettings",
    "Settings",
    "default_home",
    "find_file",
    "load",
    "parse",
]
