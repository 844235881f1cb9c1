"""How long a box takes for a request: prefill, decode, and what vouches for the speeds.

A measured speed is preferred over a published one, that over an inferred one, that over a roofline; where none is
known the answer is ``None``, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.economics.memory import KV_F16_BYTES, ModelShape
from breakeven.units import Seconds, Tokens


class Basis(StrEnum):
    """What a speed rests on, best first."""

    MEASURED = "measured"
    CONFIGURED = "configured"
    PUBLISHED = "published"
    INFERRED = "inferred"
    ROOFLINE = "roofline"


PREFERENCE = tuple(Basis)


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of one request served alone.

    Attributes:
        tokens_per_second: at up to ``holds_to_tokens`` of context.
        basis / source: what it rests on and who says so.
        holds_to_tokens: context up to which it was observed; beyond, the KV cache read slows decode down.
    """

    tokens_per_second: float
    basis: Basis
    source: str
    holds_to_tokens: Tokens = 2048

    def __post_init__(self) -> None:
        require_positive("tokens_per_second", self.tokens_per_second)


@dataclass(frozen=True, slots=True)
class BoxSpeed:
    """Both speeds of one model on one box.

    Attributes:
        shape: lets decode slow down with the context; ``None`` keeps it flat.
        kv_element_bytes: of the KV cache.
        overhead_seconds: a request's share of time that is neither prefill nor decode.
        measured_batch_cost: what each further answer decoded at once adds to a token's time, as a share of that time
            alone; ``None`` where it was not measured.
    """

    prefill: Speed
    decode: Speed
    shape: ModelShape | None = None
    kv_element_bytes: float = KV_F16_BYTES
    overhead_seconds: Seconds = 0.0
    measured_batch_cost: float | None = None

    @property
    def batch_cost(self) -> float:
        """Measured, else G/P: each further answer adds its arithmetic, which costs what a prompt token costs."""
        if self.measured_batch_cost is not None:
            return self.measured_batch_cost
        return self.decode.tokens_per_second / self.prefill.tokens_per_second

    def decode_tokens_per_second(self, context_tokens: float) -> float:
        """G(ctx) = G · (weights + KV(ctx₀)) / (weights + KV(ctx)) beyond ctx₀, the context at which G was observed."""
        observed_at = self.decode.holds_to_tokens
        if self.shape is None or context_tokens <= observed_at:
            return self.decode.tokens_per_second
        kv = self.shape.kv_bytes(1, self.kv_element_bytes)
        weights = self.shape.active_weight_bytes
        slowed = (weights + kv * observed_at) / (weights + kv * context_tokens)
        return self.decode.tokens_per_second * slowed

    def seconds(
        self, computed_input_tokens: float, output_tokens: float, context_tokens: float | None = None
    ) -> Seconds:
        """Time of a request served alone: computed input/P + output/G(ctx) + overhead.

        Args:
            computed_input_tokens: prompt tokens not found in the KV cache.
            output_tokens: generated tokens.
            context_tokens: whole prompt, cached tokens included; by default the computed ones. Decode is taken at the
                context half-way through the output.
        """
        prompt = computed_input_tokens if context_tokens is None else context_tokens
        decode = self.decode_tokens_per_second(prompt + output_tokens / 2)
        return computed_input_tokens / self.prefill.tokens_per_second + output_tokens / decode + self.overhead_seconds

    def parallel_slowdown(self, decoding: int) -> float:
        """How many times longer a token takes when ``decoding`` requests are decoded together: 1 + (n − 1)·cost.

        One pass over the weights serves all of them; each further one adds `batch_cost`.
        """
        return 1 + (decoding - 1) * self.batch_cost


def best(speeds: list[Speed]) -> Speed | None:
    """The speed with the best basis; the first of equals; ``None`` of none."""
    return min(speeds, key=lambda speed: PREFERENCE.index(speed.basis), default=None)


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Share η of the roofline that is reached, with its spread."""

    share: float
    spread: float


def decode_efficiency(shape: ModelShape, *, family: str) -> Efficiency:
    """η of decode by machine family and model: what people's measurements scatter around.

    0.75 ± 0.08 for dense models of 30B and more at up to 1 TB/s; 0.5 on HBM; 0.6 ± 0.1 for small dense models;
    0.3 to 0.65 for mixtures of experts.
    """
    if shape.is_mixture:
        return Efficiency(0.475, 0.175)
    if family == "hbm":
        return Efficiency(0.5, 0.1)
    return Efficiency(0.75, 0.08) if shape.parameters >= 30_000_000_000 else Efficiency(0.6, 0.1)


def decode_roofline(shape: ModelShape, *, bandwidth_gb_s: float, family: str, context_tokens: Tokens = 2048) -> Speed:
    """G = η · bandwidth / (active weight bytes + KV bytes(ctx)); bandwidth in decimal GB/s of *one* card.

    Layers split over cards are read one card after the other, so more cards add memory and not bandwidth.
    """
    require_positive("bandwidth_gb_s", bandwidth_gb_s)
    efficiency = decode_efficiency(shape, family=family)
    read_bytes = shape.active_weight_bytes + shape.kv_bytes(context_tokens)
    speed = efficiency.share * bandwidth_gb_s * 1e9 / read_bytes
    source = (
        f"η {efficiency.share:g} ± {efficiency.spread:g} × {bandwidth_gb_s:g} GB/s / {read_bytes / 1e9:.1f} GB a token"
    )
    return Speed(speed, Basis.ROOFLINE, source, context_tokens)


def prefill_roofline(shape: ModelShape, *, teraflops: float, efficiency: float = 0.5) -> Speed:
    """P = η · FLOPS / (2 · active parameters); η lies anywhere from 0.19 to 0.81: measure rather than trust it."""
    require_positive("teraflops", teraflops)
    require_not_negative("efficiency", efficiency)
    speed = efficiency * teraflops * 1e12 / (2 * shape.active_parameters)
    return Speed(speed, Basis.ROOFLINE, f"η {efficiency:g} (0.19 to 0.81) × {teraflops:g} TFLOPS / 2 FLOP a parameter")
