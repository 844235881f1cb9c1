"""Configurations with both simulated clouds and a model server of the house."""

from __future__ import annotations

from typing import Any

from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, SimulatedCloud
from tests.fakes.upstream import Upstream

KEYS = {"GPT_KEY": "sk-gpt-0123456789abcdef", "CLAUDE_KEY": "sk-claude-0123456789abcdef"}
PRICES = {
    f"openai/{GPT}": ("1.25", "10"),
    f"anthropic/{CLAUDE}": ("3", "15"),
    f"openai/{EMBEDDER}": ("0.02", "0"),
}


def desk(cloud: SimulatedCloud, house: Upstream | None = None, *, local: str = "ok", **sections: Any) -> dict[str, Any]:
    """Aliases ``gpt`` and ``claude`` in the cloud, ``embed`` too, ``local`` in the house, ``frontier`` for gpt."""
    document: dict[str, Any] = {
        "policy": {"default_data": "shareable", "retries": 0},
        "providers": {
            "gpt": {
                "base_url": f"{cloud.url}/v1", "locality": "remote", "catalog": "openai",
                "responses": True, "key": "env:GPT_KEY",
            },
            "claude": {
                "base_url": f"{cloud.url}/v1", "locality": "remote", "catalog": "anthropic",
                "dialect": "anthropic", "key": "env:CLAUDE_KEY",
            },
        },
        "models": {
            "gpt": {"provider": "gpt", "model": GPT},
            "claude": {"provider": "claude", "model": CLAUDE},
            "frontier": {"provider": "gpt", "model": GPT},
            "embed": {"provider": "gpt", "model": EMBEDDER},
        },
        "prices": {
            name: {"input": into, "output": out, "source": "simulated", "effective": "2026-01-01"}
            for name, (into, out) in PRICES.items()
        },
        "box": {"purchase_usd": "3600", "idle_watts": "10", "load_watts": "110", "usd_per_kwh": "0.2"},
    }  # fmt: skip
    if house is not None:
        document["providers"]["house"] = {"base_url": house.url}
        document["models"]["local"] = {"provider": "house", "model": local}
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return document
