"""Gathers the facts for a checkup."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from breakeven.box.checkup.facts import BackendFacts, Facts, FitFacts, KnowledgeFacts
from breakeven.box.checkup.read_backends import read_backends, read_gateway
from breakeven.box.checkup.read_files import read_safety
from breakeven.box.checkup.read_ledger import read_ledger
from breakeven.box.checkup.read_machine import open_listeners, read_machine
from breakeven.box.engine_fit import engine_fit, finds_room, remedy
from breakeven.box.models import ModelStore
from breakeven.catalog.measurements import Measurements
from breakeven.catalog.prices import open_book
from breakeven.config import Settings
from breakeven.errors import BreakevenError, InputError

ENGINE = "engine"


async def gather(
    settings: Settings, home: Path, config_file: Path | None, *, probe: bool, config_error: InputError | None = None
) -> Facts:
    """Read everything; what cannot be read is a fact too.

    Args:
        probe: whether to send prompts to the model servers.
        config_error: why the configuration could not be used; ``settings`` are the defaults then.
    """
    now = time.time()
    books, machine, gateway = await asyncio.gather(
        asyncio.to_thread(read_ledger, settings.ledger, home, now),
        asyncio.to_thread(read_machine, settings.box, home),
        read_gateway(settings),
    )
    backends = await read_backends(settings, books.longest_prompt, probe=probe)
    wanted = "engine" in settings.model_fields_set or any(m.provider == ENGINE for m in settings.models.values())
    engine = wanted or (not settings.providers and not any(backend.model for backend in backends))
    return Facts(
        gateway=gateway,
        backends=backends,
        engine_wanted=engine,
        ledger=books,
        machine=machine,
        safety=read_safety(
            config_file,
            open_listeners(settings.gateway.port),
            config_error=None if config_error is None else config_error.message,
            config_remedy="" if config_error is None else config_error.remedy,
        ),
        knowledge=_knowledge(settings, home, backends, engine=engine),
        fit=_fit(settings, home) if engine else None,
    )


def _fit(settings: Settings, home: Path) -> FitFacts | None:
    """The engine's model, if it is here: nothing is fetched."""
    name, engine = settings.engine.model, settings.engine
    try:
        file = ModelStore(home).find(name)
        if file is None:
            return None
        answer = engine_fit(engine, file)
    except BreakevenError as error:
        return FitFacts(name, False, error.message, error.remedy)
    asked = f"{engine.slots} slot{'s' if engine.slots > 1 else ''} of {answer.context_tokens:,} tokens"
    return FitFacts(
        name,
        finds_room(engine, answer),
        f"{name}, {asked}: {answer.sentence[0].lower()}{answer.sentence[1:-1]}",
        f"{remedy(answer)}; the arithmetic: breakeven models fit {name}",
    )


def _knowledge(settings: Settings, home: Path, backends: tuple[BackendFacts, ...], *, engine: bool) -> KnowledgeFacts:
    data = open_book(settings.prices, home).data
    age = None if data.update is None else (datetime.now(UTC) - data.update.fetched_at).days
    names = {backend.model for backend in backends} | ({settings.engine.model} if engine else set())
    try:
        taken = [one for one in Measurements(home).all() if one.model in names and one.machine == settings.box.machine]
    except InputError:
        taken = []
    newest = taken[0] if taken else None
    return KnowledgeFacts(
        prices=data.source,
        prices_age_days=age,
        prices_problem=data.problem,
        measured=None if newest is None else newest.source,
        measured_noisy=newest is not None and newest.conditions.noisy,
    )
