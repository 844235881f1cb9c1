"""Keeps models resident in servers that drop idle ones: loaded at start, told how long to stay, loaded again when lost.

What is done to a model is decided by `decide`, from what was seen and the time alone:

1. A model not yet asked for is loaded.
2. One that will be dropped earlier than it was to be, because a call or a restart of the server set another time, is
   told again. That loads nothing.
3. One that is gone before its time, pushed out by another model or a restart, is loaded again; each time it does not
   last the pause before the next is doubled, up to an hour, so that two models without room for both do not swap for
   ever.
4. One that is gone after its time was idle for so long: it stays away until a call loads it, and is then told again.
5. Shortly before the first call after such a silence is expected, by the rhythm of days and weeks, it is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal, Protocol, TypeAlias

from breakeven.box.ollama import OllamaResidency, full_name
from breakeven.errors import EngineUnavailable
from breakeven.units import Seconds

log = logging.getLogger(__name__)

LOOK_SECONDS: Seconds = 15.0
"""Between looks at what is loaded."""
RELOAD_FIRST: Seconds = 15.0
RELOAD_MOST: Seconds = 3600.0
STEADY: Seconds = 600.0
"""A model that stayed so long was not pushed out at once: its next reload does not wait."""
TOLERANCE: Seconds = 60.0
"""By which two statements of the same time may differ."""
WORTH_A_WARNING = 3

Phase: TypeAlias = Literal["new", "told", "kept", "idle"]


class Residency(Protocol):
    """A server that drops idle models unless it is told how long to keep them.

    Those that hold their models for as long as they run, such as llama-server and vLLM, need no keeping and have none.
    """

    async def resident(self) -> Mapping[str, Seconds | None]:
        """Seconds that each loaded model has left, by name; infinite for one kept for good, ``None`` where unsaid.

        Raises:
            EngineUnavailable: it does not answer.
        """
        ...

    async def load(self, model: str, keep: Seconds) -> None:
        """Load it, unless it is, and keep it for so long after its last call.

        Raises:
            EngineUnavailable: it could not be loaded, and why.
        """
        ...


@dataclass(frozen=True, slots=True)
class Resident:
    """A model to be kept.

    Attributes:
        root: its server, without ``/v1``.
        model: as that server names it.
        key: what the server wants to be shown; ``None`` for nothing.
    """

    root: str
    model: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of a model.

    Attributes:
        phase: not asked for yet; told how long to stay; seen to stay; gone after its time.
        until: time at which it will be dropped, as last seen.
        loaded_at: when it was loaded last.
        losses: times running that it did not last or could not be loaded.
        not_before: earliest time to load it again.
    """

    phase: Phase = "new"
    until: float = inf
    loaded_at: float = -inf
    losses: int = 0
    not_before: float = -inf

    def loaded(self, now: float) -> Watch:
        """After it was loaded, or told."""
        return replace(self, phase="told", until=inf, loaded_at=now)

    def failed(self, now: float) -> Watch:
        """After it could not be loaded."""
        losses = self.losses + 1
        return replace(self, losses=losses, not_before=now + reload_pause(losses))


def reload_pause(losses: int) -> Seconds:
    """Before a model that was lost so often running is loaded again.

    >>> [reload_pause(losses) for losses in (1, 2, 20)]
    [15.0, 30.0, 3600.0]
    """
    return min(RELOAD_MOST, RELOAD_FIRST * 2.0 ** min(losses - 1, 20))


async def never_due(_model: str) -> bool:
    """Nothing is known of when models are called."""
    return False


def decide(watch: Watch, left: Seconds | None, now: float, *, loaded: bool, due: bool = False) -> tuple[Watch, bool]:
    """What is known after a look, and whether to load it now; by the rules above.

    Args:
        left: seconds it has left; ``None`` when it is not loaded or the server does not say.
        loaded: whether it is.
        due: whether a call is expected soon.
    """
    if watch.phase == "new":
        return watch, now >= watch.not_before
    if loaded:
        until = inf if left is None else now + left
        if watch.phase == "idle" or (watch.phase == "kept" and until < watch.until - TOLERANCE):
            return watch, True
        steady = now - watch.loaded_at >= STEADY
        return replace(watch, phase="kept", until=until, losses=0 if steady else watch.losses), False
    if watch.phase == "idle" or (watch.phase == "kept" and now >= watch.until - TOLERANCE):
        return replace(watch, phase="idle"), due and now >= watch.not_before
    if watch.loaded_at >= watch.not_before:  # the loss is news
        watch = watch.failed(now)
        if watch.losses == 1:
            return replace(watch, not_before=now), True
    return watch, now >= watch.not_before


class Keeper:
    """Looks after the models of all servers that need it.

    Args:
        keep: seconds a model stays after its last call; infinite for good.
        due: whether a call for a model is expected soon; asked of idle ones.
    """

    def __init__(
        self,
        keep: Seconds,
        *,
        due: Callable[[str], Awaitable[bool]] = never_due,
        connect: Callable[[str, str | None], Residency] = OllamaResidency,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._keep, self._due = keep, due
        self._connect, self._clock, self._sleep = connect, clock, sleep
        self._watched: dict[Resident, Watch] = {}
        self._words: dict[Resident, str] = {}

    def configure(self, wanted: frozenset[Resident]) -> None:
        """Look after these from the next look on; what is known of those that stay is kept."""
        self._watched = {resident: self._watched.get(resident, Watch()) for resident in wanted}
        self._words = {resident: words for resident, words in self._words.items() if resident in wanted}

    def states(self) -> Mapping[str, str]:
        """In words, by model and server, for people who ask whether the box is ready."""
        return {
            f"{resident.model} at {resident.root}": self._words.get(resident, "not loaded yet")
            for resident in sorted(self._watched, key=_by_place)
        }

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await self._sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look at each server once, and load what should be there."""
        servers = {(resident.root, resident.key) for resident in self._watched}
        await asyncio.gather(*(self._look_at(root, key) for root, key in servers))

    async def _look_at(self, root: str, key: str | None) -> None:
        server = self._connect(root, key)
        for resident in sorted((r for r in self._watched if (r.root, r.key) == (root, key)), key=_by_place):
            try:
                await self._attend(server, resident)
            except EngineUnavailable as error:
                self._say(resident, error.message)

    async def _attend(self, server: Residency, resident: Resident) -> None:
        left = {full_name(model): seconds for model, seconds in (await server.resident()).items()}
        name, before = full_name(resident.model), self._watched.get(resident)
        if before is None:  # a reload of the settings let go of it meanwhile
            return
        due = before.phase == "idle" and name not in left and await self._due(resident.model)
        watch, load = decide(before, left.get(name), self._clock(), loaded=name in left, due=due)
        self._note(resident, watch)
        if not load:
            if name in left:
                self._say(resident, "resident")
            elif watch.phase == "idle":
                self._say(resident, "not loaded: idle for longer than box.keep_alive_hours")
            return
        if name not in left:
            self._say(resident, "loading: its first call is expected" if due else "loading")
        try:
            await server.load(resident.model, self._keep)
        except EngineUnavailable:
            self._note(resident, watch.failed(self._clock()))
            raise
        self._note(resident, watch.loaded(self._clock()))
        self._say(resident, "resident")
        if name not in left and watch.losses >= WORTH_A_WARNING:
            log.warning(
                "%s was dropped by %s %d times running: is there room for all its models? The next reload waits %g s.",
                *(resident.model, resident.root, watch.losses, reload_pause(watch.losses + 1)),
            )

    def _note(self, resident: Resident, watch: Watch) -> None:
        if resident in self._watched:
            self._watched[resident] = watch

    def _say(self, resident: Resident, words: str) -> None:
        if resident in self._watched and self._words.get(resident) != words:
            self._words[resident] = words
            log.info("%s at %s: %s", resident.model, resident.root, words)


def _by_place(resident: Resident) -> tuple[str, str]:
    return resident.root, resident.model
