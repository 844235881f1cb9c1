"""What a model occupies: weights, KV cache, compute buffers. Bytes throughout; GiB only for display, GB never."""

from __future__ import annotations

from dataclasses import dataclass

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.units import GIB, Tokens

MICRO_BATCH_TOKENS = 512
"""Prompt tokens that llama.cpp computes at once by default (``n_ubatch``)."""
SCORE_BYTES = 4
GRAPH_BYTES = round(0.31 * GIB)
"""Compute buffer besides attention scores: logits and activations of one micro-batch of a 70B model, inferred."""

KV_F16_BYTES = 2.0
KV_Q8_0_BYTES = 34 / 32
"""Bytes a KV element: f16, and q8_0 with 34 bytes for 32 elements."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the memory and the roofline need to know of a model at one quantisation.

    Attributes:
        layers / kv_heads / head_dimension: of the attention whose keys and values are kept.
        attention_heads: query heads, which size the score buffer where there is no flash attention.
        weight_bytes: size of all weights.
        active_weight_bytes: weights read for each token; fewer than all in a mixture of experts.
        parameters / active_parameters: counts, the latter for prefill arithmetic.
        max_context_tokens: what the model was made for.
    """

    layers: int
    kv_heads: int
    head_dimension: int
    attention_heads: int
    weight_bytes: int
    active_weight_bytes: int
    parameters: int
    active_parameters: int
    max_context_tokens: Tokens

    @property
    def is_mixture(self) -> bool:
        """Whether each token uses only some of the weights."""
        return self.active_weight_bytes < self.weight_bytes

    def kv_bytes(self, context_tokens: Tokens, element_bytes: float = KV_F16_BYTES) -> int:
        """Keys and values of so many tokens: layers × heads × dimension × 2 × bytes.

        >>> llama_70b = ModelShape(80, 8, 128, 64, 42_520_000_000, 42_520_000_000, 70_553_706_496, 70_553_706_496,
        ...     131_072)
        >>> llama_70b.kv_bytes(1) // 1024
        320
        """
        return round(self.layers * self.kv_heads * self.head_dimension * 2 * element_bytes * context_tokens)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes by part."""

    weights: int
    kv_cache: int
    compute_buffer: int
    resident_prefixes: int = 0

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.weights + self.kv_cache + self.compute_buffer + self.resident_prefixes

    @property
    def total_gib(self) -> float:
        """The sum in GiB (2³⁰ bytes)."""
        return self.total / GIB


def memory_need(
    shape: ModelShape,
    *,
    context_tokens: Tokens,
    slots: int = 1,
    resident_tokens: Tokens = 0,
    flash_attention: bool = True,
    kv_element_bytes: float = KV_F16_BYTES,
) -> MemoryNeed:
    """Memory for ``slots`` requests at once, each with ``context_tokens`` of context.

    Args:
        resident_tokens: prompt tokens kept for reuse besides those in the slots (agents × prefix).
        flash_attention: without it the scores of a micro-batch against the whole context are held:
            context × heads × 512 × 4 bytes. That buffer is what makes a 70B Q4_K_M at 128k need 95.9 GiB.
    """
    require_positive("context_tokens", context_tokens)
    require_positive("slots", slots)
    require_not_negative("resident_tokens", resident_tokens)
    total_context = context_tokens * slots
    scores = 0 if flash_attention else total_context * shape.attention_heads * MICRO_BATCH_TOKENS * SCORE_BYTES
    return MemoryNeed(
        weights=shape.weight_bytes,
        kv_cache=shape.kv_bytes(total_context, kv_element_bytes),
        compute_buffer=GRAPH_BYTES + scores,
        resident_prefixes=shape.kv_bytes(resident_tokens, kv_element_bytes),
    )


def boxes_for_memory(need: MemoryNeed, usable_bytes: int) -> int | None:
    """Boxes so that the resident prefixes fit, spread over them; ``None`` when not even the model with its slots fits.

    Every box holds the weights, the slots and the buffers; only the resident prefixes are divided.
    """
    require_positive("usable_bytes", usable_bytes)
    spare = usable_bytes - (need.weights + need.kv_cache + need.compute_buffer)
    if spare < 0 or (need.resident_prefixes and not spare):
        return None
    return max(1, -(-need.resident_prefixes // spare)) if need.resident_prefixes else 1
