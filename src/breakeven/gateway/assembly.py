"""Puts the parts of a gateway together from settings, and takes them apart again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from breakeven.box.discovery import Found, discover
from breakeven.box.engine import Engine
from breakeven.box.engine_provider import NAME as ENGINE
from breakeven.box.engine_provider import EngineProvider
from breakeven.box.models import ModelFile, Progress, no_progress, resolve
from breakeven.box.occupancy import Occupancy
from breakeven.box.power import metered_energy
from breakeven.catalog.machines import box_cost, box_figures
from breakeven.catalog.prices import open_book
from breakeven.config import ProviderSettings, Settings
from breakeven.config.secrets import read_secret
from breakeven.gateway.desk import Desk, Readiness
from breakeven.gateway.keys import is_loopback, load_keys, require_key_beyond_loopback
from breakeven.gateway.metering import Metering
from breakeven.ledger.ledger import Ledger
from breakeven.providers.base import Provider
from breakeven.providers.http import HttpProvider
from breakeven.routing.table import Route, RoutingTable

log = logging.getLogger(__name__)

DEFAULT_MODEL = "local"
"""The name that always means the default local model."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A gateway's parts, running.

    Attributes:
        desk: what the endpoints work with.
        engine: the embedded engine, if this gateway runs one.
        engine_start: its first load, still under way when the gateway opens; fails as ``Engine.start`` does.
        notes: what a person should know, a sentence each.
    """

    desk: Desk
    engine: Engine | None
    engine_start: asyncio.Task[None] | None
    notes: tuple[str, ...]


@asynccontextmanager
async def assemble(
    settings: Settings,
    home: Path,
    environment: Mapping[str, str] = os.environ,
    progress: Progress = no_progress,
    look_around: Callable[[], Awaitable[tuple[Found, ...]]] = discover,
) -> AsyncIterator[Assembly]:
    """Start what the settings ask for; on leaving, stop it and close the books.

    Without any word on where calls go, ``look_around`` finds the model servers that already run here.

    The engine may still be loading when this returns: ``/ready`` says so and calls wait for it.

    Raises:
        InputError: when the settings cannot be carried out.
    """
    require_key_beyond_loopback(settings.gateway, settings.keys)
    keys = load_keys(settings.keys, environment)
    closers: list[Callable[[], Awaitable[None]]] = []
    notes: list[str] = []
    book = open_book(settings.prices, home)
    ledger = Ledger.open(settings.ledger, home)
    try:
        providers: dict[str, Provider] = {}
        for name, provider in settings.providers.items():
            server = _server(name, provider, environment)
            providers[name] = server
            closers.append(server.close)
        found = await look_around() if _may_discover(settings) else ()
        for server_found in found:
            server = _found_server(server_found)
            providers[server_found.kind] = server
            closers.append(server.close)
            notes.append(_found_note(server_found))
        engine, model, engine_start = None, None, None
        if _wants_engine(settings, found):
            model = await asyncio.to_thread(resolve, settings.engine.model, home, progress)
            engine = Engine(settings.engine, model, home / "logs")
            engine_start = asyncio.create_task(engine.start())
            closers.append(partial(_stop_engine, engine, engine_start))
            engine_provider = EngineProvider(engine, settings.engine)
            providers[ENGINE] = engine_provider
            closers.append(engine_provider.close)
            if model.note:
                notes.append(f"The model {model.name!r} is {model.note}.")
        occupancy = Occupancy()
        box = box_cost(settings.box)
        if box is None:
            missing = ", ".join(box_figures(settings.box).missing)
            notes.append(f"What local calls cost is unknown: [box] lacks {missing} (or one line, machine = …).")
        energy = metered_energy(settings.box.power_meter, box, occupancy)
        closers.append(partial(asyncio.to_thread, energy.close))
        await asyncio.to_thread(book.warm)
        desk = Desk(
            table=RoutingTable(_routes(settings, providers, found, model)),
            ledger=ledger,
            metering=Metering(book, (settings.reference.provider, settings.reference.model), box, energy),
            occupancy=occupancy,
            keys=keys,
            readiness=partial(_readiness, ledger, engine),
            max_body_bytes=settings.gateway.max_body_bytes,
        )
        yield Assembly(desk, engine, engine_start, tuple(notes))
    finally:
        for close in reversed(closers):
            await close()
        await asyncio.to_thread(ledger.close)


async def _stop_engine(engine: Engine, start: asyncio.Task[None]) -> None:
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await engine.stop()


def _may_discover(settings: Settings) -> bool:
    """Without any word on where calls go, look at what already runs here."""
    return not settings.providers and not settings.models and "engine" not in settings.model_fields_set


def _wants_engine(settings: Settings, found: tuple[Found, ...]) -> bool:
    if "engine" in settings.model_fields_set or any(model.provider == ENGINE for model in settings.models.values()):
        return True
    return not settings.providers and not any(server.models for server in found)


def _server(name: str, settings: ProviderSettings, environment: Mapping[str, str]) -> HttpProvider:
    host = settings.base_url.split("://", 1)[1].split("/", 1)[0].rsplit("@", 1)[-1].rsplit(":", 1)[0]
    secret = None
    if settings.key is not None:
        secret = read_secret(f"providers.{name}.key", settings.key, environment)
    return HttpProvider(
        name,
        base_url=lambda: settings.base_url.rstrip("/"),
        locality=settings.locality or ("local" if is_loopback(host) else "remote"),
        timeouts=settings,
        catalog=settings.catalog,
        secret=lambda: secret,
    )


def _found_server(found: Found) -> HttpProvider:
    return HttpProvider(
        found.kind,
        base_url=lambda: found.base_url,
        locality="local",
        timeouts=ProviderSettings(base_url=found.base_url),
    )


def _found_note(found: Found) -> str:
    version = f" {found.version}" if found.version else ""
    if not found.models:
        return f"Found {found.kind}{version} at {found.base_url}, but it offers no model yet."
    names = ", ".join(model.id for model in found.models[:5])
    more = f" and {len(found.models) - 5} more" if len(found.models) > 5 else ""
    return f"Found {found.kind}{version} at {found.base_url} with {names}{more}."


def _routes(
    settings: Settings, providers: Mapping[str, Provider], found: tuple[Found, ...], engine_model: ModelFile | None
) -> dict[str, Route]:
    routes: dict[str, Route] = {}
    if engine_model is not None:
        context = min(settings.engine.context, engine_model.shape().context_length or settings.engine.context)
        for name, reason in ((engine_model.name, "asked for by name"), (DEFAULT_MODEL, "the default local model")):
            routes[name] = Route(name, providers[ENGINE], engine_model.name, reason, context, engine_model.note)
    for server in found:
        for model in server.models:
            reason = f"offered by the {server.kind} that runs here"
            routes.setdefault(model.id, Route(model.id, providers[server.kind], model.id, reason, model.context))
    for name, configured in settings.models.items():
        model_name = configured.model
        if configured.provider == ENGINE and engine_model is not None:
            model_name = engine_model.name
        reason = f"configured in models.{name}"
        routes[name] = Route(name, providers[configured.provider], model_name, reason, configured.context)
    if DEFAULT_MODEL not in routes:
        embedders = {model.id for server in found for model in server.models if model.embeddings}
        loaded = {model.id for server in found for model in server.models if model.loaded}
        local = [r for r in routes.values() if r.provider.locality == "local" and r.name not in embedders]
        preferred = next((route for route in local if route.name in loaded), local[0] if local else None)
        if preferred is not None:
            reason = f"the default local model is {preferred.name}"
            routes[DEFAULT_MODEL] = Route(
                DEFAULT_MODEL, preferred.provider, preferred.model, reason, preferred.context, preferred.note
            )
    return routes


def _readiness(ledger: Ledger, engine: Engine | None) -> Readiness:
    status = ledger.status()
    trouble = status.database_error or status.journal_error
    checks = {"ledger": status.refusing_because or (f"degraded: {trouble}" if trouble else "ok")}
    ready = status.accepting
    if engine is not None:
        state = engine.state
        checks["engine"] = f"{state.phase}: {state.reason}" if state.reason else state.phase
        ready = ready and state.phase == "ready"
    return Readiness(ready, checks)
