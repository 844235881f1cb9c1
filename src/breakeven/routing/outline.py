"""Targets as the configuration alone knows them: no health, no queues, no budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import TypeAlias

from breakeven.config import ProviderSettings, Settings
from breakeven.routing.facts import TargetState

ENGINE = "engine"
LOCAL = "local"
"""The name that always means the default local model."""
Price: TypeAlias = Callable[[str, str], Decimal | None]
"""What the call costs at a provider of the price book and a model there; ``None`` when nobody knows."""


def outline(settings: Settings, price: Price) -> tuple[TargetState, ...]:
    """Every target that the file names, and the default local model."""
    states = list(_configured(settings, price))
    if all(state.alias != LOCAL for state in states):
        first = next((state for state in states if state.locality == "local"), None)
        if first is not None:
            states.append(replace(first, alias=LOCAL))
        elif not settings.providers or "engine" in settings.model_fields_set:
            states.append(TargetState(LOCAL, ENGINE, settings.engine.model, "local", context=settings.engine.context))
    return tuple(states)


def _configured(settings: Settings, price: Price) -> Iterator[TargetState]:
    for alias, model in settings.models.items():
        provider = settings.providers.get(model.provider)
        yield TargetState(
            alias=alias,
            provider=model.provider,
            model=model.model,
            locality="local" if provider is None else provider.effective_locality,
            context=model.context or (settings.engine.context if provider is None else None),
            max_output_tokens=model.max_output_tokens,
            capabilities=model.capabilities,
            expected_usd=_expected(provider, model.model, price),
            retains=provider is not None and provider.retention_days != 0,
            trains=provider is not None and provider.trains_on_data is not False,
        )


def _expected(provider: ProviderSettings | None, model: str, price: Price) -> Decimal | None:
    if provider is None or provider.effective_locality == "local":
        return Decimal(0)
    return None if provider.catalog is None else price(provider.catalog, model)
