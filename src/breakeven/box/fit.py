"""Whether a model fits the memory before it is loaded: fits, fits with a smaller KV cache, fits with less context, or
does not fit; with the arithmetic. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from breakeven.box.gguf import ModelShape as Header
from breakeven.economics.memory import KV_F16_BYTES, KV_Q8_0_BYTES, MemoryNeed, ModelShape, memory_need
from breakeven.errors import ModelFileError
from breakeven.units import GIB, Tokens

CONTEXT_STEP = 256
LEAST_CONTEXT = 1024
"""A model with less context than this is of no use to agents."""


class Verdict(StrEnum):
    """How it fits."""

    FITS = "fits"
    FITS_Q8_KV = "fits with q8_0 KV"
    FITS_LESS_CONTEXT = "fits with less context"
    DOES_NOT_FIT = "does not fit"


@dataclass(frozen=True, slots=True)
class Capacity:
    """Memory for a model.

    Attributes:
        usable_bytes: what it may occupy.
        source: which memory, and why so much of it.
    """

    usable_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer.

    Attributes:
        need: with an f16 KV cache, at the context asked for.
        need_q8_kv: with a q8_0 one.
        most_context / most_context_q8_kv: tokens a slot at which it just fits; ``None`` when not even
            `LEAST_CONTEXT` does.
    """

    verdict: Verdict
    shape: ModelShape
    context_tokens: Tokens
    slots: int
    flash_attention: bool
    capacity: Capacity
    need: MemoryNeed
    need_q8_kv: MemoryNeed
    most_context: Tokens | None
    most_context_q8_kv: Tokens | None

    @property
    def sentence(self) -> str:
        """The verdict with its figures."""
        usable, need = f"{self.capacity.usable_bytes / GIB:.1f} GiB usable", f"{self.need.total_gib:.1f} GiB needed"
        match self.verdict:
            case Verdict.FITS:
                return f"Fits: {need}, {usable}."
            case Verdict.FITS_Q8_KV:
                return f"Fits with a q8_0 KV cache: {self.need_q8_kv.total_gib:.1f} GiB instead of {need}, {usable}."
            case Verdict.FITS_LESS_CONTEXT:
                longer = ""
                if self.most_context_q8_kv is not None and self.most_context_q8_kv > (self.most_context or 0):
                    longer = f", or {self.most_context_q8_kv:,} with a q8_0 KV cache"
                most = self.most_context if self.most_context is not None else self.most_context_q8_kv
                longer = longer if self.most_context is not None else " and a q8_0 KV cache"
                return f"Fits at {most:,} tokens of context{longer}; at {self.context_tokens:,} {need}, {usable}."
            case _:
                return f"Does not fit: {need}, {usable}; the weights alone take {self.need.weights / GIB:.1f} GiB."

    @property
    def arithmetic(self) -> tuple[tuple[str, int, str], ...]:
        """Part, bytes, how it comes about; they add up to ``need``."""
        shape, total = self.shape, self.context_tokens * self.slots
        per_token, plural = shape.kv_bytes(1), "s" if self.slots > 1 else ""
        kv = (
            f"{shape.layers} layers × {shape.kv_heads} KV heads × {shape.head_dimension} × 2 × 2 B"
            f" = {per_token / 1024:.4g} KiB a token, × {self.context_tokens:,} tokens × {self.slots} slot{plural}"
        )
        rows = [
            ("weights", self.need.weights, "tensors of the file"),
            ("KV cache, f16", self.need.kv_cache, kv),
        ]
        graph = memory_need(shape, context_tokens=1).compute_buffer
        rows.append(("buffers", graph, "activations and logits of a batch of 512"))
        if not self.flash_attention:
            scores = f"no flash attention: {total:,} tokens × {shape.attention_heads} heads × 512 × 4 B"
            rows.append(("attention scores", self.need.compute_buffer - graph, scores))
        return tuple(rows)


def fit(
    shape: ModelShape, capacity: Capacity, *, context_tokens: Tokens, slots: int = 1, flash_attention: bool = True
) -> Fit:
    """Hold a model's need against the memory there is."""

    def need(context: Tokens, element_bytes: float) -> MemoryNeed:
        return memory_need(
            shape,
            context_tokens=context,
            slots=slots,
            flash_attention=flash_attention,
            kv_element_bytes=element_bytes,
        )

    def most(element_bytes: float) -> Tokens | None:
        fixed = need(1, element_bytes).total
        per_token = (need(1 + CONTEXT_STEP, element_bytes).total - fixed) / CONTEXT_STEP
        spare = capacity.usable_bytes - fixed
        tokens = min(int(spare / per_token), shape.max_context_tokens) if spare > 0 else 0
        whole = tokens // CONTEXT_STEP * CONTEXT_STEP
        return whole if whole >= LEAST_CONTEXT else None

    full, small = need(context_tokens, KV_F16_BYTES), need(context_tokens, KV_Q8_0_BYTES)
    most_full, most_small = most(KV_F16_BYTES), most(KV_Q8_0_BYTES)
    if full.total <= capacity.usable_bytes:
        verdict = Verdict.FITS
    elif flash_attention and small.total <= capacity.usable_bytes:  # llama.cpp quantises the V cache with it only
        verdict = Verdict.FITS_Q8_KV
    elif most_full is not None or (flash_attention and most_small is not None):
        verdict = Verdict.FITS_LESS_CONTEXT
    else:
        verdict = Verdict.DOES_NOT_FIT
    return Fit(
        verdict,
        shape,
        context_tokens,
        slots,
        flash_attention,
        capacity,
        full,
        small,
        most_full,
        most_small if flash_attention else None,
    )


def shape_of(header: Header, name: str) -> ModelShape:
    """What the header of a GGUF file says, as the memory formula takes it.

    Raises:
        ModelFileError: it does not say how its attention is made, so the KV cache cannot be computed.
    """
    layers, kv_heads, keys, values = header.block_count, header.kv_head_count, header.key_length, header.value_length
    if layers is None or kv_heads is None or keys is None or values is None:
        raise ModelFileError(
            f"the header of {name} does not say how many layers and KV heads it has",
            remedy="Its memory cannot be told before it is loaded.",
        )
    return ModelShape(
        layers=layers,
        kv_heads=kv_heads,
        head_dimension=(keys + values) // 2,
        attention_heads=header.head_count or kv_heads,
        weight_bytes=header.tensor_bytes,
        active_weight_bytes=header.tensor_bytes,
        parameters=header.parameter_count,
        active_parameters=header.parameter_count,
        max_context_tokens=header.context_length or 1 << 30,
    )
