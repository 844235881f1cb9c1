"""What was measured of an engine, as times of its steps: how long prefill takes, and one token of each of n answers.

An engine that batches continuously works in steps. A step of prefill takes a piece of a prompt; a step of decode takes
one token of every answer under way. Both are fitted to the measured points, so that any length and any number of
answers at once can be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.errors import ScenarioError
from breakeven.units import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class PrefillTime:
    """Seconds to compute a prompt of so many tokens alone, from an empty cache up to its first token."""

    prompt_tokens: Tokens
    seconds: Seconds

    def __post_init__(self) -> None:
        require_positive("prompt_tokens", self.prompt_tokens)
        require_positive("seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class DecodeTime:
    """Seconds of one step in which each of ``parallel`` answers gets a token, each at ``context_tokens``."""

    parallel: int
    context_tokens: Tokens
    seconds: Seconds

    def __post_init__(self) -> None:
        require_positive("parallel", self.parallel)
        require_positive("seconds", self.seconds)


@dataclass(frozen=True)
class StepTimes:
    """An engine's measured times; frozen, with its fits computed once.

    Attributes:
        prefill: at least one point.
        decode: at least one point with ``parallel`` 1.
        overhead_seconds: of a call, before its prefill begins: transport, template, tokeniser, admission.
    """

    prefill: tuple[PrefillTime, ...]
    decode: tuple[DecodeTime, ...]
    overhead_seconds: Seconds = 0.0

    def __post_init__(self) -> None:
        if not self.prefill:
            raise ScenarioError("prefill", 0, "at least one measured point")
        if not any(point.parallel == 1 for point in self.decode):
            raise ScenarioError("decode", len(self.decode), "at least one point measured alone")
        require_not_negative("overhead_seconds", self.overhead_seconds)

    @cached_property
    def _prefill_fit(self) -> tuple[float, float, float]:
        """c, p, a of S(n) = c + p·n + a·n²: a pass over the weights, arithmetic a token, attention."""
        n = np.array([point.prompt_tokens for point in self.prefill], float)
        columns = np.stack((n, np.ones_like(n), n * n), axis=1)
        linear, fixed, square = _fit(columns, np.array([point.seconds for point in self.prefill]))
        return fixed, linear, square

    @cached_property
    def _decode_fits(self) -> tuple[tuple[int, float, float], ...]:
        """(n, b, q) of T(n, ctx) = b + q·ctx for each measured n, rising."""
        fits: list[tuple[int, float, float]] = []
        for parallel in sorted({point.parallel for point in self.decode}):
            points = [point for point in self.decode if point.parallel == parallel]
            context = np.array([point.context_tokens for point in points], float)
            columns = np.stack((np.ones_like(context), context), axis=1)
            base, slope = _fit(columns, np.array([point.seconds for point in points]))
            if len(points) == 1 and fits:  # one context says nothing of the slope: it grows as the answers do
                slope = fits[0][2] * parallel / fits[0][0]
                base = max(0.0, points[0].seconds - slope * points[0].context_tokens)
            fits.append((parallel, base, slope))
        return tuple(fits)

    def prefill_seconds(self, computed_tokens: float, cached_tokens: float = 0.0) -> Seconds:
        """S(cached + computed) − S(cached), with the pass over the weights paid again: c + p·u + a·(2·h·u + u²)."""
        if computed_tokens <= 0:
            return 0.0
        return self.pass_seconds + self.chunk_seconds(computed_tokens, cached_tokens)

    def chunk_seconds(self, tokens: float, before: float) -> Seconds:
        """Arithmetic and attention of a piece of a prompt after ``before`` tokens, less the pass over the weights."""
        _, linear, square = self._prefill_fit
        return linear * tokens + square * (2 * before * tokens + tokens * tokens)

    @property
    def pass_seconds(self) -> Seconds:
        """c: what a step of prefill costs whatever its length."""
        return self._prefill_fit[0]

    def step_seconds(self, parallel: float, context_tokens: float) -> Seconds:
        """T(n, ctx): one step of decode of ``parallel`` answers; straight lines between and beyond the measured n."""
        if parallel <= 0:
            return 0.0
        fits = self._decode_fits
        times = [base + slope * context_tokens for _, base, slope in fits]
        counts = [count for count, _, _ in fits]
        if len(fits) == 1:  # one answer alone was measured: each further one adds its arithmetic and its KV read
            _, _, slope = fits[0]
            more = min(self._prefill_fit[1] + slope * context_tokens, times[0])
            return times[0] + (parallel - 1) * more
        upper = next((i for i, count in enumerate(counts) if count >= parallel), len(counts) - 1)
        upper = max(upper, 1)
        low, high = counts[upper - 1], counts[upper]
        grown = (times[upper] - times[upper - 1]) / (high - low)
        return max(times[upper - 1] + grown * (parallel - low), times[0])

    def riding_seconds(self, parallel: float, context_tokens: float) -> Seconds:
        """What ``parallel`` tokens of decode add to a step of prefill: n·p + T(n, ctx) − T(n, 0).

        The pass over the weights is already paid for by the prefill.
        """
        if parallel <= 0:
            return 0.0
        attention = self.step_seconds(parallel, context_tokens) - self.step_seconds(parallel, 0)
        return parallel * self._prefill_fit[1] + max(0.0, attention)

    def prefill_tokens_per_second(self, prompt_tokens: float) -> float:
        """n / S(n) of a prompt computed alone."""
        return prompt_tokens / self.prefill_seconds(prompt_tokens)

    def decode_tokens_per_second(self, context_tokens: float, parallel: float = 1) -> float:
        """Of *each* of ``parallel`` answers at this context: 1 / T(n, ctx)."""
        return 1 / self.step_seconds(parallel, context_tokens)

    def seconds(
        self, uncached_tokens: float, output_tokens: float, context_tokens: float, parallel: float = 1
    ) -> Seconds:
        """Time of a call beside ``parallel`` − 1 like it: overhead + n·prefill + (output − 1)·T(n, ctx).

        Prompts are computed one after the other, so a call pays for those of its neighbours as well, and its answer
        comes at the pace of all of them.

        Args:
            uncached_tokens: prompt tokens not found in the KV cache.
            output_tokens: generated tokens; the first comes with the prefill.
            context_tokens: whole prompt, cached tokens included.
        """
        cached = max(0.0, context_tokens - uncached_tokens)
        prefill = self.prefill_seconds(max(uncached_tokens, 1), cached)
        steps = max(0.0, output_tokens - 1)
        decode = steps * self.step_seconds(parallel, context_tokens + output_tokens / 2)
        return self.overhead_seconds + parallel * prefill + decode


def _fit(columns: NDArray[np.float64], seconds: NDArray[np.float64]) -> tuple[float, ...]:
    """Coefficients of 0 or more with the least sum of squared relative errors: the best of all sets of columns.

    No more columns are used than there are distinct points; of equals the earlier columns win.
    """
    scaled, ones = columns / seconds[:, None], np.ones_like(seconds)
    distinct = len(np.unique(columns, axis=0))
    best: tuple[float, tuple[float, ...]] | None = None
    indices = range(columns.shape[1])
    for size in range(1, min(distinct, columns.shape[1]) + 1):
        for chosen in combinations(indices, size):
            solved, *_ = np.linalg.lstsq(scaled[:, chosen], ones, rcond=None)
            if (solved < 0).any():
                continue
            error = float(np.square(scaled[:, chosen] @ solved - ones).sum())
            if best is None or error < best[0] * (1 - 1e-6) - 1e-12:
                full = np.zeros(columns.shape[1])
                full[list(chosen)] = solved
                best = error, tuple(full.tolist())
    assert best is not None  # noqa: S101  one positive column always fits positive times
    return best[1]
