"""From settings and what was found here to the names that callers may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from breakeven.box.discovery import Found
from breakeven.box.engine_provider import NAME as ENGINE
from breakeven.box.models import ModelFile
from breakeven.config import Settings
from breakeven.providers.base import Provider
from breakeven.routing.table import Route

DEFAULT_MODEL = "local"
"""The name that always means the default local model."""


def build_routes(
    settings: Settings, providers: Mapping[str, Provider], found: tuple[Found, ...], engine_model: ModelFile | None
) -> dict[str, Route]:
    """Routes by name: the engine's model, models of servers found here, and over both what is configured."""
    routes: dict[str, Route] = {}
    if engine_model is not None:
        context = min(settings.engine.context, engine_model.shape().context_length or settings.engine.context)
        for name, reason in ((engine_model.name, "asked for by name"), (DEFAULT_MODEL, "the default local model")):
            routes[name] = Route(
                name, providers[ENGINE], engine_model.name, reason, context, engine_model.note,
                retains=False, trains=False,
            )  # fmt: skip
    for server in found:
        for model in server.models:
            reason = f"offered by the {server.kind} that runs here"
            route = Route(
                model.id, providers[server.kind], model.id, reason, model.context, retains=False, trains=False
            )
            routes.setdefault(model.id, route)
    for name in settings.models:
        routes[name] = _configured(name, settings, providers, engine_model)
    if DEFAULT_MODEL not in routes and (preferred := _preferred(routes, found)) is not None:
        reason = f"the default local model is {preferred.name}"
        routes[DEFAULT_MODEL] = replace(preferred, name=DEFAULT_MODEL, reason=reason)
    return routes


def _configured(
    name: str, settings: Settings, providers: Mapping[str, Provider], engine_model: ModelFile | None
) -> Route:
    model = settings.models[name]
    provider = settings.providers.get(model.provider)
    own = model.provider == ENGINE
    remote = providers[model.provider].locality == "remote"
    return Route(
        name=name,
        provider=providers[model.provider],
        model=engine_model.name if own and engine_model is not None else model.model,
        reason=f"configured in models.{name}",
        context=model.context,
        max_output_tokens=model.max_output_tokens,
        capabilities=model.capabilities,
        retains=remote and (provider is None or provider.retention_days != 0),
        trains=remote and (provider is None or provider.trains_on_data is not False),
        limit_field=(provider.max_tokens_field if provider is not None else None) or "max_tokens",
        omit_fields=provider.omit_fields if provider is not None else (),
    )


def _preferred(routes: Mapping[str, Route], found: tuple[Found, ...]) -> Route | None:
    """The local model that calls to the default name get: a loaded one rather than another, never an embedder."""
    embedders = {model.id for server in found for model in server.models if model.embeddings}
    loaded = {model.id for server in found for model in server.models if model.loaded}
    local = [r for r in routes.values() if r.provider.locality == "local" and r.name not in embedders]
    return next((route for route in local if route.name in loaded), local[0] if local else None)
