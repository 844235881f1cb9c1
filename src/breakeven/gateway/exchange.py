"""One attempt under way: when things happened and what was counted, up to the observation it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from breakeven.box.occupancy import Occupancy
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import BreakevenError, DeadlineExceeded, StreamCut, Unanswered
from breakeven.gateway.metering import Observation
from breakeven.gateway.token_ratios import TokenRatios
from breakeven.ledger.records import CountedBy, Durations, Outcome
from breakeven.routing.table import Route
from breakeven.wire.reader import EngineTimings


class Counted(Protocol):
    """What was read of an answer, whole or in part."""

    @property
    def usage(self) -> TokenCounts | None:
        """Counts by the server."""
        ...

    @property
    def timings(self) -> EngineTimings | None:
        """The engine's own timings and counts."""
        ...

    @property
    def model(self) -> str | None:
        """The model the server says it used."""
        ...

    @property
    def tier(self) -> str | None:
        """What the server says it bills by, where that is not its standard tier."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer came to its end, so that the counts are final."""
        ...

    @property
    def server_tools(self) -> Mapping[str, int]:
        """Requests to tools run by the provider, by its own names."""
        ...

    @property
    def text_characters(self) -> int:
        """Characters of generated text, for an estimate."""
        ...


class Arrival(msgspec.Struct, frozen=True):
    """When a call arrived: on the wall clock for the books, on the monotonic one for durations."""

    unix: float
    monotonic: float

    @classmethod
    def now(cls) -> Arrival:
        """This moment."""
        return cls(time.time(), time.perf_counter())


def may_be_billed(route: Route, error: BreakevenError) -> bool:
    """Whether a provider may charge for an attempt that ended so, though it said nothing of what was used."""
    return route.provider.locality == "remote" and isinstance(error, DeadlineExceeded | StreamCut | Unanswered)


class Exchange:
    """Follows one attempt. Entering it occupies the box when the provider is local.

    Args:
        arrival: of the call, from which the client waits for the first token.
        ratios: taught by what a provider counted, asked where nobody did.
    """

    def __init__(
        self,
        route: Route,
        reason: str,
        arrival: Arrival,
        occupancy: Occupancy,
        ratios: TokenRatios,
        prompt_characters: int,
    ) -> None:
        self.route = route
        self._reason = reason
        self._arrival = arrival
        self._began = Arrival.now()
        self._occupancy = occupancy
        self._ratios = ratios
        self._target = (route.provider.name, route.model)
        self._prompt_characters = prompt_characters
        self._ticket = occupancy.enter() if route.provider.locality == "local" else None
        self._first_token: float | None = None

    def note_first_token(self) -> None:
        """The first piece of generated text has arrived."""
        if self._first_token is None:
            self._first_token = time.perf_counter() - self._arrival.monotonic

    def observe(self, outcome: Outcome, read: Counted | None, error: str | None = None) -> Observation:
        """Close the books on this attempt; called exactly once.

        Without ``read`` nothing was used; with one that nobody counted, the prompt and what arrived are estimated.
        """
        total = time.perf_counter() - self._began.monotonic
        timings = None
        tokens: TokenCounts | None = None
        counted_by: CountedBy = "nobody"
        if read is not None:
            timings = read.timings
            tokens, counted_by = self._count(read, timings)
        return Observation(
            provider=self.route.provider,
            model_asked=self.route.model,
            model_served=read.model if read is not None else None,
            reason=self._reason,
            started_at=self._began.unix,
            durations=self._durations(total, timings),
            outcome=outcome,
            tokens=tokens,
            counted_by=counted_by,
            box_seconds=self._occupancy.leave(self._ticket) if self._ticket is not None else None,
            unpriced_tools=read is not None and bool(read.server_tools),
            tier=read.tier if read is not None else None,
            error=error,
        )

    def _count(self, read: Counted, timings: EngineTimings | None) -> tuple[TokenCounts, CountedBy]:
        by_server: CountedBy = "engine" if self.route.provider.is_engine else "provider"
        characters = self._prompt_characters, read.text_characters
        if read.usage is not None and read.finished:
            self._ratios.learn(self._target, *characters, read.usage)
            return read.usage, by_server
        if timings is not None:
            return timings.tokens, by_server
        estimate = self._ratios.estimate(self._target, *characters)
        if read.usage is None:
            return estimate, "estimate"
        # Cut short: the prompt was counted at the start, the output by what had arrived.
        return msgspec.structs.replace(read.usage, output=max(read.usage.output, estimate.output)), "estimate"

    def _durations(self, total: float, timings: EngineTimings | None) -> Durations:
        queue = None
        if timings is not None and self._first_token is not None:
            waited = self._began.monotonic - self._arrival.monotonic
            queue = max(0.0, self._first_token - waited - timings.prefill)
        return Durations(
            total=total,
            queue=queue,
            prefill=timings.prefill if timings is not None else None,
            decode=timings.decode if timings is not None else None,
            first_token=self._first_token,
        )
