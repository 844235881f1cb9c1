"""The benchmark of a box: which calls to time, and what their times say.

Prompts are random, so that no cache falsifies prefill. Short ones are timed several times, long ones as often as the
time allowed for a point permits; the median counts and the spread is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import TypeAlias

from breakeven.box.bench_client import BenchClient, Reading, WordsDialect
from breakeven.box.meters import PowerMeter
from breakeven.box.pressure import CpuQueue
from breakeven.catalog.measurements import DecodePoint, PrefillPoint, Spread, TimedBy, Watts
from breakeven.errors import UpstreamError
from breakeven.units import Seconds, Tokens

Step: TypeAlias = Callable[[str, float], None]
"""Called with what is being done and the share of the whole that is done."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """How thoroughly to measure.

    Attributes:
        lengths: prompts in tokens, rising.
        parallel: answers at once, rising, from 2.
        output_tokens: of each answer.
        most_runs: repetitions of a point.
        point_seconds: time allowed for a point, beyond which it is not repeated.
        longest_seconds: a prompt that would take longer than this is left out, and so are those longer than it.
        idle_seconds: how long the idle draw is watched, where there is a meter.
    """

    lengths: tuple[Tokens, ...]
    parallel: tuple[int, ...]
    output_tokens: Tokens
    most_runs: int
    point_seconds: Seconds
    longest_seconds: Seconds
    idle_seconds: Seconds


ALL_LENGTHS = (32, 128, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
QUICK_LENGTHS = (32, 128, 512, 1536)
MARGIN_TOKENS = 16
LONG_ENOUGH: Tokens = 128
NOT_REUSED = 0.6
"""Share of the time of a new prompt from which a prompt sent again cannot have come from the cache."""
MOST_TAKEN_OUT = 0.9
"""Share of a call's time beyond which waiting for a CPU cannot be told from its work."""


def bench_plan(*, quick: bool, context: Tokens | None, most_parallel: int) -> BenchPlan:
    """A plan that stays within a slot's context and the server's slots.

    Args:
        context: tokens of a slot; 4,096 are assumed where the server does not say.
        most_parallel: the most answers at once to try.
    """
    output = 32 if quick else 64
    room = (context or 4096) - output - MARGIN_TOKENS
    wanted = QUICK_LENGTHS if quick else ALL_LENGTHS
    fitting = tuple(length for length in wanted if length <= room)
    doubled = [2**power for power in range(1, 7) if 2**power < most_parallel]
    parallel = tuple(doubled) + ((most_parallel,) if most_parallel > 1 else ())
    return BenchPlan(
        lengths=fitting or (max(8, room),),
        parallel=parallel,
        output_tokens=output,
        most_runs=3 if quick else 5,
        point_seconds=6.0 if quick else 30.0,
        longest_seconds=30.0 if quick else 240.0,
        idle_seconds=2.0 if quick else 5.0,
    )


@dataclass(slots=True)
class BenchResult:
    """What was read; see `breakeven.catalog.measurements.Measurement`."""

    timed_by: TimedBy = "outside"
    prefill: list[PrefillPoint] = field(default_factory=list)
    decode: list[DecodePoint] = field(default_factory=list)
    overhead_seconds: Seconds = 0.0
    load_seconds: Seconds | None = None
    cached_seconds: Seconds | None = None
    cached_prompt_tokens: Tokens | None = None
    watts: Watts | None = None
    waited_share: float | None = None
    notes: list[str] = field(default_factory=list)


class Bench:
    """One run of the benchmark.

    Args:
        seed: of the random prompts; a new one each time, or a server's cache on disk might know them.
        cpu_queue: of the server, where it is known: time it waited for a CPU is taken out of its times.
        sleep: waits between readings of the meter.
    """

    def __init__(
        self,
        client: BenchClient,
        plan: BenchPlan,
        *,
        seed: int,
        meter: PowerMeter | None = None,
        cpu_queue: CpuQueue | None = None,
        step: Step = lambda _doing, _share: None,
        sleep: Callable[[Seconds], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client, self._plan, self._meter, self._step, self._sleep = client, plan, meter, step, sleep
        self._cpu_queue = cpu_queue
        self._waited_seconds = self._watched_seconds = 0.0
        self._rng = random.Random(seed)  # noqa: S311  not a secret
        self._result = BenchResult()
        self._overheads: list[Seconds] = []
        self._energy_watt_hours = 0.0
        self._energy_seconds = 0.0
        self._done = 0
        self._phases = 2 + len(plan.lengths) + len(plan.parallel)

    async def run(self) -> BenchResult:
        """Measure.

        Raises:
            UpstreamError: the server stopped answering, or answers too little to be timed.
        """
        idle = await self._idle_watts()
        await self._warm_up()
        for length in self._plan.lengths:
            if not await self._alone(length):
                break
        if not self._result.prefill or not self._result.decode:
            raise UpstreamError(
                "the server's answers are too short to be timed, or it reads less than it is sent",
                remedy="Try another model, or raise its context.",
            )
        for parallel in self._plan.parallel:
            if not await self._together(parallel):
                break
        await self._from_cache()
        if self._watched_seconds:
            self._result.waited_share = self._waited_seconds / self._watched_seconds
        if self._overheads:
            self._result.overhead_seconds = median(self._overheads)
        if self._meter is not None and idle is not None and self._energy_seconds:
            load = self._energy_watt_hours / self._energy_seconds * 3600
            self._result.watts = Watts(self._meter.name, round(idle, 2), round(load, 2))
        self._step("done", 1.0)
        return self._result

    async def _idle_watts(self) -> float | None:
        if self._meter is None:
            return None
        self._step("idle draw", 0.0)
        before = self._meter.read()
        await self._sleep(self._plan.idle_seconds)
        after = self._meter.read()
        return None if before is None or after is None else (after - before) / self._plan.idle_seconds * 3600

    async def _warm_up(self) -> None:
        """The first call loads what is not loaded yet, and tells how long words are."""
        self._step("warming up", self._share())
        dialect = self._client.dialect
        prompt = dialect.prompt(self._plan.lengths[0], self._rng)
        reading = await self._client.call(prompt, 8)
        if reading.load is not None and reading.load > 0.5:
            self._result.load_seconds = reading.load
        self._result.timed_by = "outside" if reading.prefill is None else "engine"
        if isinstance(dialect, WordsDialect):
            dialect.learn(prompt, reading)
        self._done += 1

    async def _alone(self, length: Tokens) -> bool:
        """Time one length; ``False`` when longer ones would take too long or do not fit."""
        expected = self._expected_seconds(length)
        if expected is not None and expected > self._plan.longest_seconds:
            self._result.notes.append(
                f"Prompts of {length:,} tokens and more were left out: one would take about {expected:.0f} s."
            )
            return False
        runs = self._runs(expected)
        readings = []
        for number in range(runs):
            self._step(f"prompt of {length:,} tokens, run {number + 1} of {runs}", self._share(number / runs))
            readings += await self._timed(length)
        self._done += 1
        seen = round(median([_prompt_tokens(reading) for reading in readings]))
        if seen < 0.8 * length:
            self._result.notes.append(
                f"Of a prompt of {length:,} tokens the server read {seen:,}: it cuts prompts off, so that longer ones"
                " were left out. Raise its context."
            )
            return False
        prefill = [_prefill_seconds(reading) for reading in readings]
        self._result.prefill.append(PrefillPoint(seen, _spread(prefill)))
        self._overheads += [
            max(0.0, reading.first_token_seconds - reading.prefill - (reading.load or 0.0))
            for reading in readings
            if reading.prefill is not None
        ]
        steps = [seconds for reading in readings if (seconds := _step_alone(reading)) is not None]
        if steps:
            self._result.decode.append(DecodePoint(1, seen + self._plan.output_tokens // 2, _spread(steps)))
        return True

    async def _together(self, parallel: int) -> bool:
        """Time ``parallel`` answers at once; ``False`` when the server does not generate so many at once."""
        lengths = [point.prompt_tokens for point in self._result.prefill]
        allowed = [length for length in lengths if parallel * (self._expected_seconds(length) or 0) <= self._budget]
        for length in sorted({lengths[0], *(allowed[-1:] if allowed else ())}):
            runs = self._runs(parallel * (self._expected_seconds(length) or 0.0))
            steps = []
            for number in range(runs):
                self._step(
                    f"{parallel} answers at once after {length:,} tokens, run {number + 1} of {runs}",
                    self._share(number / runs),
                )
                common = _common_step(await self._timed(length, parallel))
                if common is not None:
                    steps.append(common)
            if not steps:
                self._result.notes.append(f"{parallel} answers were not generated at once: the server queues them.")
                return False
            self._result.decode.append(DecodePoint(parallel, length + self._plan.output_tokens // 2, _spread(steps)))
        self._done += 1
        return True

    async def _from_cache(self) -> None:
        """The same prompt twice: the second time it is in the cache."""
        length = max(
            point.prompt_tokens
            for point in self._result.prefill
            if point is self._result.prefill[0] or point.seconds.median <= self._plan.point_seconds
        )
        self._step(f"prompt of {length:,} tokens from the cache", self._share())
        prompt = self._client.dialect.prompt(length, self._rng)
        await self._client.call(prompt, 8, cached=True)
        reading = await self._client.call(prompt, 8, cached=True)
        self._result.cached_seconds = reading.first_token_seconds
        self._result.cached_prompt_tokens = _prompt_tokens(reading)
        expected = self._expected_seconds(length)
        if length >= LONG_ENOUGH and expected and _prefill_seconds(reading) > NOT_REUSED * expected:
            self._result.notes.append(
                f"A prompt of {length:,} tokens that had just been sent was computed again: this server does not reuse"
                " prompts of this model, so what agents send again and again costs them each time."
            )

    async def _timed(self, length: Tokens, parallel: int = 1) -> list[Reading]:
        """So many calls at once, with the time the server waited for a CPU taken out."""
        prompts = [self._client.dialect.prompt(length, self._rng) for _ in range(parallel)]
        before = None if self._meter is None else self._meter.read()
        queued = None if self._cpu_queue is None else self._cpu_queue.read()
        readings = await asyncio.gather(*(self._client.call(prompt, self._plan.output_tokens) for prompt in prompts))
        elapsed = max(reading.last for reading in readings) - min(reading.sent for reading in readings)
        after = None if self._meter is None else self._meter.read()
        if before is not None and after is not None:
            self._energy_watt_hours += after - before
            self._energy_seconds += elapsed
        if self._cpu_queue is None or not queued:
            return readings
        waited = min(self._cpu_queue.waited_since(queued), MOST_TAKEN_OUT * elapsed)
        self._waited_seconds += waited
        self._watched_seconds += elapsed
        return [reading.without(waited / elapsed) for reading in readings]

    @property
    def _budget(self) -> Seconds:
        return self._plan.point_seconds * 2

    def _runs(self, expected: Seconds | None) -> int:
        if not expected:
            return self._plan.most_runs
        return max(1, min(self._plan.most_runs, int(self._plan.point_seconds / expected)))

    def _expected_seconds(self, length: Tokens) -> Seconds | None:
        """From the longest prompt timed so far, growing with the length."""
        if not self._result.prefill:
            return None
        longest = self._result.prefill[-1]
        known = {point.prompt_tokens: point.seconds.median for point in self._result.prefill}
        return known.get(length, longest.seconds.median * length / longest.prompt_tokens)

    def _share(self, of_phase: float = 0.0) -> float:
        return min(1.0, (self._done + of_phase) / self._phases)


def _prompt_tokens(reading: Reading) -> int:
    return (reading.input_tokens or 0) + (reading.cached_tokens or 0)


def _prefill_seconds(reading: Reading) -> Seconds:
    """The server's own figure, else the time to the first token."""
    if reading.prefill is not None:
        return reading.prefill
    return reading.first_token_seconds - (reading.load or 0.0)


def _step_alone(reading: Reading) -> Seconds | None:
    """Time a token: the server's own, for all but the first token, else by the caller's clock."""
    if reading.decode is not None and (reading.output_tokens or 0) > 1:
        return reading.decode / ((reading.output_tokens or 0) - 1)
    return reading.step_seconds()


def _common_step(readings: Iterable[Reading]) -> Seconds | None:
    """Time a token in the stretch in which all of them are generating; ``None`` when there is no such stretch."""
    answers = list(readings)
    since, until = max(answer.first for answer in answers), min(answer.last for answer in answers)
    steps = [answer.step_seconds(since, until) for answer in answers]
    known = [step for step in steps if step is not None]
    return median(known) if len(known) == len(answers) else None


def _spread(seconds: list[Seconds]) -> Spread:
    """Median and range, to the microsecond."""
    return Spread(round(median(seconds), 6), round(min(seconds), 6), round(max(seconds), 6), len(seconds))
