"""Puts the parts of a gateway together from settings, lays the desk anew on a reload, and takes all apart again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from breakeven.accounts.accounts import Accounts, open_accounts
from breakeven.accounts.responses import ResponseCache
from breakeven.accounts.verdicts import NoOthers
from breakeven.box.cache_size import OUTGROWN, PROMPT_CACHE, outgrown
from breakeven.box.demand import read_demand
from breakeven.box.discovery import Found, discover
from breakeven.box.drift_watch import DriftWatch
from breakeven.box.engine import Engine
from breakeven.box.engine_fit import fit_notes
from breakeven.box.engine_provider import NAME as ENGINE
from breakeven.box.engine_provider import EngineProvider
from breakeven.box.first_calls import FirstCalls
from breakeven.box.keeper import Keeper
from breakeven.box.kv_files import KvFiles
from breakeven.box.models import ModelFile, Progress, no_progress, resolve
from breakeven.box.occupancy import Occupancy
from breakeven.box.ollama import FOREVER
from breakeven.box.power import metered_energy
from breakeven.box.prefix_watch import PROMPT_PREFIXES
from breakeven.box.pressure import StrainReader
from breakeven.box.speed import measured_speeds
from breakeven.box.timings import latest_calls
from breakeven.catalog.machines import box_cost, box_figures
from breakeven.catalog.prices import open_book
from breakeven.config import Settings
from breakeven.config.watch import LiveSettings
from breakeven.gateway.box_view import broken_prefixes
from breakeven.gateway.decisions import Decisions
from breakeven.gateway.desk import Desk, Inbox, Readiness
from breakeven.gateway.gauges import gauges
from breakeven.gateway.keys import require_key_beyond_loopback
from breakeven.gateway.logs import log_call
from breakeven.gateway.metering import Energy, Metering
from breakeven.gateway.metrics import Metrics
from breakeven.gateway.peers import Board
from breakeven.gateway.planner import Planner
from breakeven.gateway.pools import Pools
from breakeven.gateway.residents import boxes_here, models_to_keep
from breakeven.gateway.routes import build_routes
from breakeven.gateway.servers import Servers
from breakeven.gateway.telemetry import exporting_spans
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Call
from breakeven.routing.forecast import RecentForecast
from breakeven.routing.runtime import Runtime, load_checks
from breakeven.routing.table import RoutingTable

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Parts:
    """What outlives a reload."""

    home: Path
    environment: Mapping[str, str]
    ledger: Ledger
    accounts: Accounts
    servers: Servers
    pools: Pools
    found: tuple[Found, ...]
    engine: Engine | None
    engine_provider: EngineProvider | None
    model: ModelFile | None
    occupancy: Occupancy
    energy: Energy
    runtime: Runtime
    forecast: RecentForecast
    metrics: Metrics
    decisions: Decisions
    responses: ResponseCache
    observers: tuple[Callable[[Call], None], ...]
    inbox: Inbox | None
    keeper: Keeper | None
    drift: DriftWatch


class Assembly:
    """A gateway's parts, running.

    Attributes:
        desk: what the endpoints work with under the present settings.
        engine: the embedded engine, if this gateway runs one.
        engine_start: its first load, still under way when the gateway opens; fails as ``Engine.start`` does.
        notes: what a person should know, a sentence each.
        live: the file that the settings follow, if they follow one.
    """

    def __init__(self, parts: _Parts, engine_start: asyncio.Task[None] | None, notes: tuple[str, ...]) -> None:
        self._parts = parts
        self.engine = parts.engine
        self.engine_start = engine_start
        self.notes = notes
        self.live: LiveSettings | None = None
        self.desk: Desk

    def follow(self, live: LiveSettings) -> None:
        """Lay the desk anew whenever the file changes and holds water."""
        self.live = live
        live.subscribe(self.lay_desk)

    async def lay_desk(self, settings: Settings) -> None:
        """Take on settings; calls in flight end as they began. ``[engine]``, ``[ledger]`` and ``[box]`` stay.

        Raises:
            InputError: the settings cannot be carried out; then the old ones hold on.
        """
        parts = self._parts
        # Whatever may be refused comes before the keys and budgets, which hold from the moment they are taken on.
        load_checks(settings)
        box = box_cost(settings.box)
        book = open_book(settings.prices, parts.home)
        await asyncio.to_thread(book.warm)
        providers = parts.servers.configure(settings.providers, settings.policy.key_cooldown_seconds)
        providers |= parts.pools.configure(settings.pools, settings.providers, providers)
        if parts.engine_provider is not None:
            providers[ENGINE] = parts.engine_provider
        table = RoutingTable(build_routes(settings, providers, parts.found, parts.model))
        if parts.keeper is not None:
            parts.keeper.configure(models_to_keep(settings, parts.found, table, parts.environment))
        parts.drift.configure(*boxes_here(settings, providers, parts.found))
        parts.accounts.configure(settings, parts.environment)
        parts.runtime.reconfigure(settings)
        metering = Metering(book, (settings.reference.provider, settings.reference.model), box, parts.energy)
        self.desk = Desk(
            table=table,
            planner=Planner(settings, table, parts.runtime, parts.accounts, metering, parts.forecast),
            runtime=parts.runtime,
            accounts=parts.accounts,
            ledger=parts.ledger,
            metering=metering,
            occupancy=parts.occupancy,
            box=lambda: parts.engine_provider.dispatcher.snapshot() if parts.engine_provider is not None else None,
            forecast=parts.forecast,
            drift=parts.drift,
            metrics=parts.metrics,
            decisions=parts.decisions,
            responses=parts.responses,
            observers=parts.observers,
            inbox=parts.inbox,
            readiness=self._readiness,
            allowed_origins=settings.gateway.allowed_origins,
            max_body_bytes=settings.gateway.max_body_bytes,
            heartbeat_seconds=settings.gateway.heartbeat_seconds,
        )
        await parts.pools.retire()
        await parts.servers.retire()

    def _readiness(self) -> Readiness:
        parts = self._parts
        status = parts.ledger.status()
        trouble = status.database_error or status.journal_error
        checks = {"ledger": status.refusing_because or (f"degraded: {trouble}" if trouble else "ok")}
        ready = status.accepting
        if self.engine is not None:
            state = self.engine.state
            checks["engine"] = f"{state.phase}: {state.reason}" if state.reason else state.phase
            ready = ready and state.phase == "ready"
            if parts.engine_provider is not None and (cache := self.engine.cache) is not None:
                demand = parts.engine_provider.dispatcher.demand()
                too_small = outgrown(demand, self.engine.kv_bytes_per_token, cache.mib)
                checks[PROMPT_CACHE] = cache.says if too_small is None else f"{OUTGROWN}: {too_small}"
        if broken := broken_prefixes(self.desk.table):
            checks[PROMPT_PREFIXES] = f"{len(broken)} change early on from run to run; breakeven top names them"
        if parts.keeper is not None:
            checks |= {f"model {name}": words for name, words in parts.keeper.states().items()}
        if parts.accounts.trouble is not None:
            checks["accounts"] = parts.accounts.trouble
        if self.live is not None and self.live.problem is not None:
            checks["configuration"] = self.live.problem
        return Readiness(ready, checks)


@asynccontextmanager
async def assemble(
    settings: Settings,
    home: Path,
    environment: Mapping[str, str] = os.environ,
    progress: Progress = no_progress,
    look_around: Callable[[], Awaitable[tuple[Found, ...]]] = discover,
    inbox: Inbox | None = None,
) -> AsyncIterator[Assembly]:
    """Start what the settings ask for; on leaving, stop it and close the books.

    Without any word on where calls go, ``look_around`` finds the model servers that already run here.

    The engine may still be loading when this returns: ``/ready`` says so and calls wait for it.

    Raises:
        InputError: when the settings cannot be carried out.
    """
    notes: list[str] = []
    async with AsyncExitStack() as stack:
        ledger = Ledger.open(settings.ledger, home)
        stack.push_async_callback(asyncio.to_thread, ledger.close)
        accounts = await stack.enter_async_context(open_accounts(settings, home, ledger, environment))
        require_key_beyond_loopback(settings.gateway.host, accounts.key_count)
        servers = Servers(environment)
        stack.push_async_callback(servers.close)
        pools = Pools(environment)
        stack.push_async_callback(pools.close)
        found = await look_around() if _may_discover(settings) else ()
        servers.discovered(found)
        notes += [_found_note(server) for server in found]
        engine, provider, model, engine_start = None, None, None, None
        if _wants_engine(settings, found):
            model = await asyncio.to_thread(resolve, settings.engine.model, home, progress)
            engine = Engine(
                settings.engine,
                model,
                home / "logs",
                kv_files=KvFiles(home / "kv"),
                demand=lambda: read_demand(settings.ledger, home, time.time(), provider=ENGINE),
            )
            engine_start = asyncio.create_task(engine.start(keep_trying=bool(settings.providers or found)))
            stack.push_async_callback(_stop_engine, engine, engine_start)
            provider = EngineProvider(engine, settings.engine)
            stack.push_async_callback(provider.close)
            if model.note:
                notes.append(f"The model {model.name!r} is {model.note}.")
            notes += fit_notes(settings.engine, model)
        occupancy = Occupancy()
        box = box_cost(settings.box)
        if box is None:
            missing = ", ".join(box_figures(settings.box).missing)
            notes.append(f"What local calls cost is unknown: [box] lacks {missing} (or one line, machine = …).")
        energy = metered_energy(settings.box.power_meter, box, occupancy)
        stack.push_async_callback(asyncio.to_thread, energy.close)
        decisions = Decisions()
        metrics = Metrics(lambda: gauges(assembly.desk))
        drift = DriftWatch(StrainReader().read)
        observers: list[Callable[[Call], None]] = [metrics.observe, decisions.observe, drift.observe]
        if settings.gateway.log_calls:
            observers.append(log_call)
        if settings.gateway.traces:
            observers.append(stack.enter_context(exporting_spans()))
        board = Board(accounts.verdicts)
        runtime = Runtime(settings, time.monotonic, board)
        if not isinstance(accounts.verdicts, NoOthers):
            exchange = asyncio.create_task(board.exchange(runtime.breakers))
            stack.callback(exchange.cancel)
        parts = _Parts(
            home=home,
            environment=environment,
            ledger=ledger,
            accounts=accounts,
            servers=servers,
            pools=pools,
            found=found,
            engine=engine,
            engine_provider=provider,
            model=model,
            occupancy=occupancy,
            energy=energy,
            runtime=runtime,
            forecast=RecentForecast(occupancy, measured_speeds(home, settings.box), drift.slowdown),
            metrics=metrics,
            decisions=decisions,
            responses=ResponseCache(),
            observers=tuple(observers),
            inbox=inbox,
            keeper=_keeper(settings, home),
            drift=drift,
        )
        assembly = Assembly(parts, engine_start, tuple(notes))
        await assembly.lay_desk(settings)
        if parts.keeper is not None:
            keeping = asyncio.create_task(parts.keeper.run(), name="keeper")
            stack.push_async_callback(_cancelled, keeping)
        watching = asyncio.create_task(_watch_drift(drift, settings, home), name="drift watch")
        stack.push_async_callback(_cancelled, watching)
        yield assembly


async def _watch_drift(drift: DriftWatch, settings: Settings, home: Path) -> None:
    """What is usual is in the books: the calls of the last day."""
    for call in await asyncio.to_thread(latest_calls, settings.ledger, home, time.time()):
        drift.observe(call)
    await drift.run()


async def _stop_engine(engine: Engine, start: asyncio.Task[None]) -> None:
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await engine.stop()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _keeper(settings: Settings, home: Path) -> Keeper | None:
    hours = settings.box.keep_alive_hours
    if hours == 0:
        return None
    if hours == "forever":
        return Keeper(FOREVER)
    keep = hours * 3600
    return Keeper(keep, due=FirstCalls(settings.ledger, home, keep).due)


def _may_discover(settings: Settings) -> bool:
    """Without any word on where calls go, look at what already runs here."""
    return not settings.providers and not settings.models and "engine" not in settings.model_fields_set


def _wants_engine(settings: Settings, found: tuple[Found, ...]) -> bool:
    if "engine" in settings.model_fields_set or any(model.provider == ENGINE for model in settings.models.values()):
        return True
    return not settings.providers and not any(server.models for server in found)


def _found_note(found: Found) -> str:
    version = f" {found.version}" if found.version else ""
    if not found.models:
        return f"Found {found.kind}{version} at {found.base_url}, but it offers no model yet."
    names = ", ".join(model.id for model in found.models[:5])
    more = f" and {len(found.models) - 5} more" if len(found.models) > 5 else ""
    return f"Found {found.kind}{version} at {found.base_url} with {names}{more}."
