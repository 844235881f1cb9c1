"""Tokens of one model call, by the classes that providers bill apart."""

from __future__ import annotations

import msgspec

from breakeven.errors import InputError


class TokenCounts(msgspec.Struct, frozen=True):
    """Tokens of one call; the classes do not overlap, save that ``reasoning`` is part of ``output``.

    Attributes:
        uncached_input: prompt tokens computed afresh and billed at the input rate.
        cache_read: prompt tokens taken from a cache.
        cache_write_5m: prompt tokens written to a cache kept five minutes.
        cache_write_1h: prompt tokens written to a cache kept one hour.
        output: generated tokens, reasoning included.
        reasoning: how many of ``output`` were reasoning; ``None`` when nobody said.
        cache_known: false when nobody said how much of the prompt came from or went to a cache: ``uncached_input``
            then includes it, and the call has a range of prices, not a price.
    """

    uncached_input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int | None = None
    cache_known: bool = True

    def __post_init__(self) -> None:
        if min(self.uncached_input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output) < 0:
            for name in ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
                if getattr(self, name) < 0:
                    raise InputError(f"{name} = {getattr(self, name)}: a token count cannot be negative")
        if self.reasoning is not None and not 0 <= self.reasoning <= self.output:
            raise InputError(f"reasoning = {self.reasoning}: must lie between 0 and output = {self.output}")

    @classmethod
    def reported(
        cls,
        *,
        input_tokens: int,
        output_tokens: int,
        input_includes_cached: bool,
        cache_read: int = 0,
        cache_write_5m: int = 0,
        cache_write_1h: int = 0,
        reasoning: int | None = None,
        cache_known: bool = True,
    ) -> TokenCounts:
        """Read a provider's report under its own convention.

        ``input_includes_cached`` has no default on purpose: OpenAI-style and OpenTelemetry reports include
        cached tokens in the input count, Anthropic-style reports exclude them, and a wrong guess is wrong
        by up to ten times.
        """
        cached = cache_read + cache_write_5m + cache_write_1h
        uncached = input_tokens - cached if input_includes_cached else input_tokens
        if uncached < 0:
            raise InputError(f"input_tokens = {input_tokens}: smaller than the {cached} cached tokens it includes")
        return cls(uncached, cache_read, cache_write_5m, cache_write_1h, output_tokens, reasoning, cache_known)

    @property
    def input(self) -> int:
        """All prompt tokens, cached or not: the count that selects a price tier."""
        return self.uncached_input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def total(self) -> int:
        """Prompt and output tokens together."""
        return self.input + self.output

    def __add__(self, other: TokenCounts) -> TokenCounts:
        """Sum of two calls, for volume only: sums must never be priced, since tiers apply per call."""
        both_known = self.reasoning is not None and other.reasoning is not None
        return TokenCounts(
            self.uncached_input + other.uncached_input,
            self.cache_read + other.cache_read,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
            self.output + other.output,
            (self.reasoning or 0) + (other.reasoning or 0) if both_known else None,
            self.cache_known and other.cache_known,
        )
