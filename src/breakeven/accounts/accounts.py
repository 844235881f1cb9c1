"""Keys, budgets and rate limits as the gateway asks for them."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from sqlalchemy.engine import Engine

from breakeven.accounts.answer_table import AnswerTable
from breakeven.accounts.budget import (
    SECONDS_PER_DAY,
    UNBUDGETED,
    Balance,
    Budget,
    Line,
    Reservation,
    Spender,
    configured_budgets,
    exhausted,
    in_locking_order,
    key_budget,
    lines_for,
    window_at,
)
from breakeven.accounts.history import Books, flush
from breakeven.accounts.idempotency import Idempotency
from breakeven.accounts.key_table import KeyTable, StoredKeys
from breakeven.accounts.keys import Caller, KeyRing, configured_callers, names
from breakeven.accounts.lock import sole_gateway
from breakeven.accounts.presence import DEAD_SECONDS, Presence
from breakeven.accounts.shared_budgets import SharedBudgets
from breakeven.accounts.store import BudgetStore, OwnBudgets
from breakeven.accounts.throttle import Throttle
from breakeven.accounts.verdicts import NoOthers, SharedVerdicts, VerdictBoard
from breakeven.config import Settings
from breakeven.errors import CostUnknown, LedgerUnavailable
from breakeven.ledger import database
from breakeven.ledger.ledger import Ledger
from breakeven.units import ZERO_USD

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LINES_KEPT = 1024
"""Spenders and days of which the budgets that cover them are remembered."""
BUSY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands; ``balance`` is ``None`` while nobody could tell."""

    budget: Budget
    window: str
    ends_at: float | None
    balance: Balance | None


class Accounts:
    """Who may call and what they may spend. To be used from one event loop; made by ``open_accounts``.

    Attributes:
        throttle: rate limits of keys.
        idempotency: answers to calls that sent an ``Idempotency-Key``.
        verdicts: what circuit breakers of other gateways found.
    """

    def __init__(
        self,
        keys: KeyTable,
        store: BudgetStore,
        idempotency: Idempotency,
        verdicts: VerdictBoard,
        presence: Presence | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._store = store
        self._presence = presence
        self._clock = clock
        self._configured: Mapping[bytes, Caller] = {}
        self._configured_budgets: tuple[Budget, ...] = ()
        self._stored: StoredKeys | None = None
        self._ring = KeyRing({}, None)
        self._budgets: tuple[Budget, ...] = ()
        self._lines: dict[tuple[Spender, int], tuple[Line, ...]] = {}
        self._trouble: str | None = None
        self.throttle = Throttle()
        self.idempotency = idempotency
        self.verdicts = verdicts

    @property
    def key_count(self) -> int:
        """How many keys open the gateway."""
        return len(self._ring)

    @property
    def keyless(self) -> bool:
        """Whether anybody may call."""
        return self._ring.is_open

    @property
    def trouble(self) -> str | None:
        """Why keys and budgets could not be read just now; ``None`` when all is well."""
        return self._trouble

    def configure(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Take over keys and budgets of a configuration; calls in flight keep what they have reserved.

        Raises:
            InputError: a key's secret cannot be had or is unfit; everything stays as it was.
        """
        self._configured = configured_callers(settings.keys, environment)
        self._configured_budgets = configured_budgets(settings.budgets, settings.keys)
        self._arrange()

    def identify(self, secret: str | None) -> Caller:
        """Who calls with this secret; errors as ``KeyRing.identify``."""
        return self._ring.identify(secret, self._clock)

    def covers(self, spender: Spender) -> bool:
        """Whether any budget covers an attempt, so that it must be reserved."""
        return bool(self._lines_for(spender))

    def _lines_for(self, spender: Spender, at: float | None = None) -> tuple[Line, ...]:
        """As ``lines_for``; they are the same all day."""
        moment = self._clock() if at is None else at
        day = int(moment // SECONDS_PER_DAY)
        lines = self._lines.get((spender, day))
        if lines is None:
            if len(self._lines) >= LINES_KEPT:
                self._lines.clear()
            lines = self._lines[spender, day] = lines_for(self._budgets, spender, moment)
        return lines

    async def reserve(self, spender: Spender, upper_bound: Decimal | None, at: float | None = None) -> Reservation:
        """Hold the most that an attempt can cost, in every budget that covers it or in none.

        Each reservation is settled or released in the end, whatever becomes of the attempt.

        Args:
            upper_bound: USD, from ``bound.upper_bound``; ``None`` when nobody can tell, as of local attempts, which are
                let through until a budget that counts ``all`` is spent.
            at: Unix time at which the call was received; decides the day and the month. By default now.

        Raises:
            BudgetExhausted: it does not fit (402), or not while others are in flight (429).
            CostUnknown: a budget covers a remote attempt and ``upper_bound`` is ``None``.
            LedgerUnavailable: what is left cannot be known, since the database does not answer.
        """
        lines = self._lines_for(spender, at)
        if not lines:
            return UNBUDGETED
        if upper_bound is None:
            self._check_unbounded(spender, lines)
        return await self._store.reserve(lines, ZERO_USD if upper_bound is None else upper_bound)

    async def settle(self, reservation: Reservation, actual: Decimal | None) -> None:
        """Book what an attempt cost: what was billed, or for a local one all parts of its cost.

        ``None`` is unknown and counts as all that was held for it. Settling twice changes nothing.
        """
        if reservation.lines:
            await self._store.settle(reservation, actual)

    async def release(self, reservation: Reservation) -> None:
        """Give back what was held for an attempt that cost nothing; nothing to do once it is settled."""
        if reservation.lines:
            await self._store.release(reservation)

    def falls_back(self, spender: Spender) -> bool:
        """Whether a budget that covers an attempt would have it served locally once it is spent."""
        return any(budget.on_exhausted == "local" and budget.covers(spender) for budget in self._budgets)

    def left(self, spender: Spender, at: float | None = None) -> Decimal | None:
        """USD that an attempt could reserve now, for planning; ``None`` when no budget covers it.

        A budget of which nobody can tell, as in the first moment of a day, counts as whole: ``reserve`` decides.
        """
        left: Decimal | None = None
        for line in self._lines_for(spender, at):
            balance = self._store.balance(line) or Balance()
            room = max(ZERO_USD, balance.left(line.budget.usd))
            left = room if left is None else min(left, room)
        return left

    def standings(self) -> list[Standing]:
        """How all budgets stand in their present windows."""
        return [
            Standing(line.budget, line.window.name, line.window.end, self._store.balance(line))
            for line in self._present_lines()
        ]

    async def refresh(self) -> None:
        """Read keys that changed, and keep the balances in order; trouble with the database is noted and logged."""
        try:
            if await asyncio.to_thread(self._read_keys):
                self._arrange()
            await self._store.tick(self._present_lines())
            await self._store.learn(self._present_lines())
            await self.idempotency.tick()
            await self.verdicts.tick()
        except LedgerUnavailable as error:
            if self._trouble is None:
                log.error("%s; known keys go on working, budgets refuse what they cannot check", error.message)
            self._trouble = error.message
        else:
            if self._trouble is not None:
                log.warning("the database of keys and budgets answers again")
            self._trouble = None

    async def watch(self, stop: asyncio.Event, seconds: float = POLL_SECONDS) -> None:
        """Refresh until told to stop; what is under way is finished, so that no connection is left behind."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()
            if stop.is_set():
                return
            try:
                await self.refresh()
            except Exception:
                log.exception("keys and budgets could not be refreshed; trying again")

    def _present_lines(self) -> tuple[Line, ...]:
        now = self._clock()
        return tuple(Line(budget, window_at(budget.per, now)) for budget in self._budgets)

    def _check_unbounded(self, spender: Spender, lines: tuple[Line, ...]) -> None:
        for line in lines:
            if spender.locality == "remote":
                if line.budget.unknown_cost == "refuse":
                    raise _cost_unknown(line.budget, spender)
            elif (balance := self._store.balance(line)) is not None and balance.left(line.budget.usd) <= 0:
                raise exhausted(line, balance, ZERO_USD, self._clock())

    def _read_keys(self) -> bool:
        """Whether they have changed."""
        if self._stored is None or self._trouble is not None:
            self._keys.migrate()
        if self._presence is not None:
            self._presence.beat()
        if self._stored is not None and self._keys.version() == self._stored.version:
            return False
        self._stored = self._keys.load()
        return True

    def _arrange(self) -> None:
        """Put together what the configuration and the database say; the configuration's names come first."""
        taken = names(self._configured.values())
        stored, own = {}, []
        for digest, key in self._stored.by_digest.items() if self._stored is not None else ():
            if key.name in taken:
                log.warning("key %r of the database opens nothing: the configuration has one of this name", key.name)
                continue
            stored[digest] = key.caller()
            if key.budget is not None:
                own.append(key_budget(key.name, key.budget))
        ever = self._stored is not None and self._stored.ever
        self._ring = KeyRing(self._configured, stored if self._stored is not None else None, demanded=ever)
        self._budgets = in_locking_order([*self._configured_budgets, *own])
        self._lines = {}


@asynccontextmanager
async def open_accounts(
    settings: Settings,
    home: Path,
    ledger: Ledger,
    environment: Mapping[str, str],
    *,
    poll_seconds: float = POLL_SECONDS,
    dead_seconds: float = DEAD_SECONDS,
) -> AsyncIterator[Accounts]:
    """Keys and budgets, watched for changes until left.

    On SQLite the database is locked: one gateway spends from it. On PostgreSQL any number may share.

    Args:
        poll_seconds: between two looks at what others changed.
        dead_seconds: silence after which another gateway's reservations and calls in flight are given up.

    Raises:
        InputError: another gateway spends from the database, or a key's secret cannot be had.
        LedgerError: the folder cannot be written, or the database belongs to a newer version.
    """
    engine: Engine = database.connect(settings.ledger, home, busy_seconds=BUSY_SECONDS)
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)
        store: BudgetStore
        verdicts: VerdictBoard = NoOthers()
        presence = None
        if engine.dialect.name == "postgresql":
            presence = Presence(engine, dead_seconds)
            stack.push_async_callback(_leave, presence)
            store = shared = SharedBudgets(engine, presence, partial(flush, ledger))
            stack.push_async_callback(shared.close)
            verdicts = SharedVerdicts(engine, presence.process)
        else:
            if engine.url.database:
                stack.enter_context(sole_gateway(Path(engine.url.database)))
            store = OwnBudgets(Books(engine, ledger))
        process = presence.process if presence is not None else uuid.uuid4().hex
        idempotency = Idempotency(AnswerTable(engine, settings.idempotency, process))
        stack.push_async_callback(idempotency.close)
        accounts = Accounts(KeyTable(engine), store, idempotency, verdicts, presence)
        accounts.configure(settings, environment)
        await accounts.refresh()
        stop = asyncio.Event()
        watching = asyncio.create_task(accounts.watch(stop, poll_seconds))
        try:
            yield accounts
        finally:
            stop.set()
            await watching


async def _leave(presence: Presence) -> None:
    try:
        await asyncio.to_thread(presence.leave)
    except LedgerUnavailable as error:
        log.warning("%s; the other gateways notice by themselves that this one is gone", error.message)


def _cost_unknown(budget: Budget, spender: Spender) -> CostUnknown:
    return CostUnknown(
        f"budget {budget.name!r} covers this call and what {spender.provider}/{spender.model} may cost is unknown",
        remedy='Send max_tokens, price the model under [prices], or set unknown_cost = "allow" in its budget.',
        budget=budget.name,
        on_exhausted=budget.on_exhausted,
    )
