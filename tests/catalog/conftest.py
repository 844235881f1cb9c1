"""Price data in the form in which it is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from breakeven.catalog.price_data import bundled

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def _raw_rate(value: Any) -> Any:
    if not hasattr(value, "tiers"):
        return float(value)
    tiers = [{"start": tier.start, "price": float(tier.price)} for tier in value.tiers]
    return {"base": float(value.base), "tiers": tiers}


def _raw_prices(prices: Any) -> dict[str, Any]:
    return {key: _raw_rate(value) for key, value in vars(prices).items() if value is not None}


def _raw_conditional(price: Any) -> dict[str, Any]:
    constraint = price.constraint and {key: value.isoformat() for key, value in vars(price.constraint).items()}
    return {"constraint": constraint, "prices": _raw_prices(price.prices)}


def _raw_model(model: Any) -> dict[str, Any]:
    dated = isinstance(model.prices, list)
    prices = [_raw_conditional(price) for price in model.prices] if dated else _raw_prices(model.prices)
    return {"id": model.id, "match": {"equals": model.id}, "prices": prices}


def published() -> list[dict[str, Any]]:
    """The bundled data as its publisher's JSON has it; batch tiers left out."""
    return [
        {
            "id": provider.id,
            "name": provider.name,
            "api_pattern": provider.api_pattern,
            "models": [_raw_model(model) for model in provider.models],
        }
        for provider in bundled().providers
    ]


Changed = Callable[..., bytes]


@pytest.fixture(scope="session")
def price_json() -> Changed:
    """The published data as bytes, with prices changed: ``price_json({"anthropic/claude-x": {"input_mtok": 3}})``."""
    text = json.dumps(published())

    def changed(prices: dict[str, dict[str, Any]] | None = None, keep: float = 1.0) -> bytes:
        document = json.loads(text)
        for name, values in (prices or {}).items():
            provider_id, _, model_id = name.partition("/")
            provider = next(provider for provider in document if provider["id"] == provider_id)
            model = next((model for model in provider["models"] if model["id"] == model_id), None)
            if model is None:
                model = {"id": model_id, "match": {"equals": model_id}, "prices": {}}
                provider["models"].append(model)
            model["prices"].update(values)
        for provider in document:
            provider["models"] = provider["models"][: round(len(provider["models"]) * keep)]
        return json.dumps(document).encode()

    return changed
