"""The best known speed of this box for a model: what it measured of itself, else what the catalogue says of its like.

For whoever predicts a wait: ``best_known_speed(...)`` once at start, then its methods for each call, in microseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from breakeven.catalog.machines import box_figures
from breakeven.catalog.measurements import Measurement, Measurements, newest
from breakeven.config import BoxSettings
from breakeven.economics.service import Basis, BoxSpeed, Speed
from breakeven.economics.step_times import StepTimes
from breakeven.errors import InputError
from breakeven.units import Seconds

log = logging.getLogger(__name__)


class CallSpeed(Protocol):
    """How fast calls are served.

    Attributes:
        basis / source: what the figures rest on and who says so.
    """

    @property
    def basis(self) -> Basis:
        """What the figures rest on."""
        ...

    @property
    def source(self) -> str:
        """Who says so."""
        ...

    def prefill_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:
        """Of one prompt of this length, while ``parallel`` calls take turns."""
        ...

    def decode_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:
        """Of each of ``parallel`` answers at this context."""
        ...

    def seconds(
        self, uncached_tokens: float, output_tokens: float, context_tokens: float, parallel: int = 1
    ) -> Seconds:
        """Of a call beside ``parallel`` − 1 like it, once it has a slot; the context is its whole prompt."""
        ...


@dataclass(frozen=True, slots=True)
class MeasuredCallSpeed:
    """From a measurement of this box."""

    times: StepTimes
    source: str
    basis: Basis = Basis.MEASURED

    def prefill_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:
        """Prompts are computed one after the other, so each gets its share."""
        return self.times.prefill_tokens_per_second(max(1.0, context_tokens)) / parallel

    def decode_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:
        """1 / T(n, ctx)."""
        return self.times.decode_tokens_per_second(context_tokens, parallel)

    def seconds(
        self, uncached_tokens: float, output_tokens: float, context_tokens: float, parallel: int = 1
    ) -> Seconds:
        """See `StepTimes.seconds`."""
        return self.times.seconds(uncached_tokens, output_tokens, context_tokens, parallel)


@dataclass(frozen=True, slots=True)
class ListedCallSpeed:
    """From the catalogue's row of the machine."""

    speed: BoxSpeed

    @property
    def basis(self) -> Basis:
        """Of the weaker of the two speeds."""
        return max(self.speed.prefill.basis, self.speed.decode.basis, key=list(Basis).index)

    @property
    def source(self) -> str:
        """Of both speeds."""
        prefill, decode = self.speed.prefill.source, self.speed.decode.source
        return prefill if prefill == decode else f"{prefill}; {decode}"

    def prefill_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:  # noqa: ARG002
        """The same at every length: nothing else is known."""
        return self.speed.prefill.tokens_per_second / parallel

    def decode_tokens_per_second(self, context_tokens: float, parallel: int = 1) -> float:
        """G(ctx) over the slowdown by those decoded beside it."""
        return self.speed.decode_tokens_per_second(context_tokens) / self.speed.parallel_slowdown(parallel)

    def seconds(
        self, uncached_tokens: float, output_tokens: float, context_tokens: float, parallel: int = 1
    ) -> Seconds:
        """Overhead, the prompts of all, and the answer at the pace of all."""
        decode = self.decode_tokens_per_second(context_tokens + output_tokens / 2, parallel)
        prefill = uncached_tokens / self.prefill_tokens_per_second(context_tokens, parallel)
        return self.speed.overhead_seconds + prefill + output_tokens / decode


def best_known_speed(
    home: Path, box: BoxSettings, model: str, *, shape: str | None = None, kind: str | None = None
) -> CallSpeed | None:
    """What is known of this box serving ``model``; ``None`` when nobody measured it and the catalogue is silent.

    Args:
        model: as the server calls it.
        shape: the catalogue's row of the model, if it has one.
        kind: the server that runs it (``engine``, ``ollama`` …); by default whatever it was measured on.

    Raises:
        UnknownMachine: when ``box.machine`` is not in the catalogue.
        InputError: a stored measurement cannot be read.
    """
    taken = [one for one in Measurements(home).all() if kind is None or one.engine.kind == kind]
    return known_speed(taken, box, model, shape=shape)


def measured_speeds(home: Path, box: BoxSettings) -> Callable[[tuple[str, str]], CallSpeed | None]:
    """Looks up the measured speed of a local target, (provider, model); read once, so a new measurement counts from the
    next start. A measurement that cannot be read is left out, with a warning.
    """
    try:
        taken = Measurements(home).all()
    except InputError as error:
        log.warning("%s", error)
        taken = []

    @cache
    def speed_of(target: tuple[str, str]) -> CallSpeed | None:
        provider, model = target
        of_its_kind = [one for one in taken if one.engine.kind == provider]
        own = newest(of_its_kind or taken, machine=box.machine, model=model)
        return None if own is None else MeasuredCallSpeed(own.step_times(), own.source)

    return speed_of


def known_speed(
    taken: Sequence[Measurement], box: BoxSettings, model: str, *, shape: str | None = None
) -> CallSpeed | None:
    """As `best_known_speed`, from measurements at hand."""
    own = newest(taken, machine=box.machine, shape=shape, model=model)
    if own is not None:
        return MeasuredCallSpeed(own.step_times(), own.source)
    machine = box_figures(box).machine
    if machine is None or shape is None:
        return None
    listed = machine.speed(shape)
    if listed.prefill is None or listed.decode is None:
        return None
    prefill, decode = (
        Speed(float(figure.value), Basis(figure.kind), figure.source) for figure in (listed.prefill, listed.decode)
    )
    return ListedCallSpeed(BoxSpeed(prefill, decode))
