"""The most that an attempt can cost, before it is made. Pure."""

from __future__ import annotations

from decimal import Decimal

from breakeven.economics.rates import Rate, Rates
from breakeven.units import TOKENS_PER_MILLION, ZERO_USD

TOKENS_PER_CALL = 1_000
"""Tokens that providers add to a call of their own accord: priming of the answer, instructions for tool use."""


def upper_bound(prompt_bytes: int, max_output_tokens: int | None, rates: Rates, *, choices: int = 1) -> Decimal | None:
    """USD that an attempt cannot exceed; ``None`` when no bound can be given.

    Why it is a bound:

    - Tokens of text are at most its UTF-8 bytes: tokenisers merge bytes, and fall back to one token a byte. The JSON of
      a request is no shorter than the text it carries; its syntax outweighs what chat templates put around messages.
    - What providers add of their own accord has an allowance, ``TOKENS_PER_CALL``.
    - The whole prompt is taken at the dearest class that a prompt token can fall in (uncached, read from or written to
      a cache) and the output at the dearer of output and reasoning, each in the dearest tier that it can reach.
    - Providers count reasoning within the limit of output tokens, which they keep.

    Args:
        prompt_bytes: length of the request, tool definitions included; media at what they count at most in tokens.
        max_output_tokens: the limit sent along; ``None`` when the provider would set its own.
        rates: of the model; without an input or an output rate there is no bound.
        choices: answers asked for.

    It does not hold for tools that the provider runs itself, nor for files that it fetches: those have no bound.

    >>> sonnet = Rates(input=Rate(Decimal("2")), output=Rate(Decimal("10")), cache_write_5m=Rate(Decimal("2.5")))
    >>> upper_bound(1_000, 1_000, sonnet)
    Decimal('0.015')
    """
    if max_output_tokens is None or rates.input is None or rates.output is None:
        return None
    prompt = prompt_bytes + TOKENS_PER_CALL
    into = _dearest(prompt, rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h)
    out = _dearest(prompt, rates.output, rates.reasoning)
    return (prompt * into + max_output_tokens * choices * out) / TOKENS_PER_MILLION + rates.per_call


def _dearest(prompt_tokens: int, *classes: Rate | None) -> Decimal:
    """The highest rate per million that any of these classes has for prompts of up to this many tokens."""
    dearest = ZERO_USD
    for rate in classes:
        if rate is not None:
            reachable = (price for threshold, price in rate.tiers if threshold < prompt_tokens)
            dearest = max(dearest, rate.base, *reachable)
    return dearest
