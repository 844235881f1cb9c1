"""Speeds measured on machines of one's own: what ``breakeven measure`` writes, and plans and the gateway read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from breakeven.economics.memory import ModelShape
from breakeven.economics.service import Basis, BoxSpeed, Speed
from breakeven.economics.step_times import DecodeTime, PrefillTime, StepTimes
from breakeven.errors import InputError
from breakeven.units import Seconds, Tokens

FOLDER = "measurements"
NOISY_SHARE = 0.10
"""Share of the run in which some process waited for a CPU, or swapped, beyond which the figures are called noisy."""

TimedBy: TypeAlias = Literal["engine", "outside"]


class Spread(msgspec.Struct, frozen=True):
    """Repeated readings of one figure, in seconds."""

    median: Seconds
    low: Seconds
    high: Seconds
    runs: int


class PrefillPoint(msgspec.Struct, frozen=True):
    """Time to compute a prompt that is nowhere in the cache."""

    prompt_tokens: Tokens
    seconds: Spread


class DecodePoint(msgspec.Struct, frozen=True):
    """Time between tokens of each of ``parallel`` answers generated at once, at about this context."""

    parallel: int
    context_tokens: Tokens
    seconds: Spread


class EngineUsed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What served, and how it was set up; ``None`` where it does not say.

    Attributes:
        kind: ``engine`` for the embedded one, else the server.
        slots: calls it serves at once.
        context: tokens of a slot.
        batch_tokens: prompt tokens it takes in one step.
    """

    kind: str
    version: str | None = None
    slots: int | None = None
    context: Tokens | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    batch_tokens: int | None = None


class Watts(msgspec.Struct, frozen=True):
    """Draw as a meter of the machine saw it."""

    meter: str
    idle: float
    load: float


class Conditions(msgspec.Struct, frozen=True):
    """What else the machine was doing; ``None`` where it cannot be told.

    Attributes:
        cpu_pressure: share of the run in which some process waited for a CPU.
        memory_pressure: share in which some process waited for memory.
        waited: share in which the server itself stood ready without a CPU; that time is taken out of the figures.
        notes: what a reader should know, a sentence each.
    """

    cpu_pressure: float | None = None
    memory_pressure: float | None = None
    waited: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def noisy(self) -> bool:
        """Whether neighbours may have slowed the run down."""
        cpu = self.cpu_pressure if self.waited is None else self.waited
        return max(cpu or 0.0, self.memory_pressure or 0.0) > NOISY_SHARE


class Measurement(msgspec.Struct, frozen=True):
    """One machine, one model, one way to run it.

    Attributes:
        host: the machine in words: processor, cores, memory.
        machine: its row of the catalogue, as ``[box] machine`` names it; ``None`` when it names none.
        model: as the server calls it.
        shape: the catalogue's row of the model; ``None`` when it has none.
        taken_at: ISO 8601, UTC.
        program: version of breakeven.
        timed_by: ``engine`` when the server states its own times, ``outside`` when they were taken by the caller's
            clock, transport included.
        load_seconds: to load the model; ``None`` when it was loaded already.
        cached_seconds: to the first token of a prompt of ``cached_prompt_tokens`` that is in the cache.
        overhead_seconds: of a call besides prefill and decode.
    """

    host: str
    machine: str | None
    model: str
    shape: str | None
    engine: EngineUsed
    taken_at: str
    program: str
    timed_by: TimedBy
    prefill: tuple[PrefillPoint, ...]
    decode: tuple[DecodePoint, ...]
    overhead_seconds: Seconds
    conditions: Conditions
    load_seconds: Seconds | None = None
    cached_seconds: Seconds | None = None
    cached_prompt_tokens: Tokens | None = None
    quick: bool = False
    watts: Watts | None = None

    def step_times(self) -> StepTimes:
        """The figures as the economics take them."""
        return StepTimes(
            prefill=tuple(PrefillTime(point.prompt_tokens, point.seconds.median) for point in self.prefill),
            decode=tuple(
                DecodeTime(point.parallel, point.context_tokens, point.seconds.median) for point in self.decode
            ),
            overhead_seconds=self.overhead_seconds,
        )

    @property
    def source(self) -> str:
        """Who says so, for a list of assumptions."""
        noisy = ", on a busy machine" if self.conditions.noisy else ""
        return f"breakeven measure on {self.taken_at[:10]}, {self.model} on {self.engine.kind}{noisy}"

    @property
    def key(self) -> str:
        """Name of its file: the same machine, model and settings measured again take its place."""
        settings = msgspec.json.encode((self.host, self.machine, self.model, self.engine))
        words = re.sub(r"[^a-z0-9.]+", "-", f"{self.engine.kind}-{self.model}".lower()).strip("-.")
        return f"{words[:80]}-{hashlib.sha256(settings).hexdigest()[:8]}"


def measured_speed(
    measured: Measurement, *, input_tokens: float, output_tokens: float, slots: int, shape: ModelShape | None = None
) -> BoxSpeed:
    """Both speeds of a request of this size, as plans take them, with what answers at once really cost each other.

    Args:
        shape: lets decode slow down beyond this request's context.
    """
    times = measured.step_times()
    context = max(1, round(input_tokens + output_tokens / 2))
    alone = times.step_seconds(1, context)
    batch_cost = None if slots == 1 else max(0.0, times.step_seconds(slots, context) / alone - 1) / (slots - 1)
    return BoxSpeed(
        Speed(times.prefill_tokens_per_second(max(1.0, input_tokens)), Basis.MEASURED, measured.source, context),
        Speed(1 / alone, Basis.MEASURED, measured.source, context),
        shape,
        overhead_seconds=measured.overhead_seconds,
        measured_batch_cost=batch_cost,
    )


class Measurements:
    """The measurements folder of a home."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def all(self) -> list[Measurement]:
        """All, the newest first.

        Raises:
            InputError: a file cannot be read.
        """
        found = [self._read(file) for file in sorted(self.folder.glob("*.json"))]
        return sorted(found, key=lambda measured: measured.taken_at, reverse=True)

    def save(self, measured: Measurement) -> Path:
        """Write one, whole or not at all; returns its file.

        Raises:
            InputError: the home folder cannot be written.
        """
        file = self.folder / f"{measured.key}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".json.{os.getpid()}")
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2))
            draft.replace(file)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror or error}") from error
        return file

    def _read(self, file: Path) -> Measurement:
        try:
            return msgspec.json.decode(file.read_bytes(), type=Measurement)
        except (OSError, msgspec.MsgspecError) as error:
            raise InputError(
                f"measurement {file} cannot be read: {error}", remedy="Delete it and run: breakeven measure"
            ) from error


def newest(
    measured: Iterable[Measurement], *, machine: str | None, shape: str | None = None, model: str | None = None
) -> Measurement | None:
    """The newest quiet measurement of that machine and model, else the newest noisy one; ``None`` of none.

    Args:
        machine: as ``[box] machine`` names it; ``None`` for a machine the configuration does not name.
        shape / model: the catalogue's or the server's name of the model; at least one.
    """
    fitting = [
        candidate
        for candidate in measured
        if candidate.machine == machine
        and ((shape is not None and candidate.shape == shape) or (model is not None and candidate.model == model))
    ]
    return max(fitting, key=lambda candidate: (not candidate.conditions.noisy, candidate.taken_at), default=None)
