"""What was measured of an engine, as times of its steps: how long prefill takes, and one token of each of n answers.

An engine that batches continuously works in steps. A step of prefill takes a piece of a prompt; a step of decode takes
one token of every answer under way. Both are fitted to the measured points, so that any length and any number of
answers at once can be asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

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
        rows = [(float(point.prompt_tokens), 1.0, float(point.prompt_tokens**2)) for point in self.prefill]
        linear, fixed, square = _fit(rows, [point.seconds for point in self.prefill])
        return fixed, linear, square

    @cached_property
    def _decode_fit(self) -> tuple[tuple[int, ...], tuple[float, ...], float]:
        """The n measured, their b_n, and q of T(n, ctx) = b_n + q·n·ctx: each answer reads its own cache."""
        counts = sorted({point.parallel for point in self.decode})
        rows = [
            [*(float(point.parallel == count) for count in counts), float(point.parallel * point.context_tokens)]
            for point in self.decode
        ]
        *bases, slope = _fit(rows, [point.seconds for point in self.decode])
        return tuple(counts), tuple(bases), slope

    @cached_property
    def _knots(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lengths and seconds that S goes through, rising, from c at 0."""
        measured = sorted((point.prompt_tokens, point.seconds) for point in self.prefill)
        lengths, seconds = [0.0], [min(self._prefill_fit[0], measured[0][1])]
        for length, took in measured:
            if length > lengths[-1]:
                lengths.append(float(length))
                seconds.append(max(took, seconds[-1]))
        return tuple(lengths), tuple(seconds)

    def _from_empty(self, tokens: float) -> Seconds:
        """S(n): through the measured points, bent between and beyond them by the attention a."""
        lengths, seconds = self._knots
        right = min(bisect_left(lengths, tokens, 1), len(lengths) - 1)
        x0, x1, y0, y1 = lengths[right - 1], lengths[right], seconds[right - 1], seconds[right]
        slope = (y1 - y0) / (x1 - x0)
        bend = min(self._prefill_fit[2], slope / (x1 - x0))  # no more than keeps S rising
        return y0 + slope * (tokens - x0) - bend * (tokens - x0) * (x1 - tokens)

    def prefill_seconds(self, computed_tokens: float, cached_tokens: float = 0.0) -> Seconds:
        """c + S(cached + computed) − S(cached): the pass over the weights, and the rest of the prompt."""
        if computed_tokens <= 0:
            return 0.0
        return self.pass_seconds + self.chunk_seconds(computed_tokens, cached_tokens)

    def chunk_seconds(self, tokens: float, before: float) -> Seconds:
        """S(before + tokens) − S(before): a piece of a prompt, less the pass over the weights that begins it."""
        return self._from_empty(before + tokens) - self._from_empty(before)

    @property
    def pass_seconds(self) -> Seconds:
        """c: what the computing of a prompt costs whatever its length."""
        return self._knots[1][0]

    def step_seconds(self, parallel: float, context_tokens: float) -> Seconds:
        """T(n, ctx): one step of decode of ``parallel`` answers; straight lines between and beyond the measured n."""
        if parallel <= 0:
            return 0.0
        return self._base_seconds(parallel) + self._decode_fit[2] * parallel * context_tokens

    def _base_seconds(self, parallel: float) -> Seconds:
        """b_n; where one answer alone was measured, each further one adds its arithmetic."""
        counts, bases, _ = self._decode_fit
        if len(counts) == 1:
            return bases[0] + (parallel - 1) * min(self._prefill_fit[1], bases[0])
        upper = max(1, next((i for i, count in enumerate(counts) if count >= parallel), len(counts) - 1))
        grown = (bases[upper] - bases[upper - 1]) / (counts[upper] - counts[upper - 1])
        return max(bases[upper - 1] + grown * (parallel - counts[upper - 1]), bases[0])

    def prefill_tokens_per_second(self, prompt_tokens: float) -> float:
        """n / S(n) of a prompt computed alone."""
        return prompt_tokens / self.prefill_seconds(prompt_tokens)

    def decode_tokens_per_second(self, context_tokens: float, parallel: float = 1) -> float:
        """Of *each* of ``parallel`` answers at this context: 1 / T(n, ctx)."""
        return 1 / self.step_seconds(parallel, max(1.0, context_tokens))

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


def _fit(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> tuple[float, ...]:
    """Coefficients of 0 or more with the least sum of squared relative errors: the best of all sets of columns.

    No more columns are used than there are distinct points; of equals the earlier columns win.
    """
    import numpy as np  # noqa: PLC0415 - a tenth of a gateway's start, which fits nothing until it forecasts

    columns = np.array(rows, float)
    scaled, ones = columns / np.array(seconds)[:, None], np.ones(len(seconds))
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
