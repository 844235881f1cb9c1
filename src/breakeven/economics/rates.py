"""What a call costs at a provider's rates: by token class, in the tier its prompt length selects."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.units import TOKENS_PER_MILLION, ZERO_USD


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per million tokens of one class.

    Attributes:
        base: the rate below every threshold.
        tiers: ``(threshold, rate)`` in rising order; a call whose whole prompt exceeds ``threshold`` tokens
            pays ``rate`` for *all* tokens of the class (a cliff, as Anthropic, Google and OpenAI bill).
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, prompt_tokens: int) -> Decimal:
        """The rate for a call with this many prompt tokens, cached ones included."""
        applicable = self.base
        for threshold, rate in self.tiers:
            if prompt_tokens > threshold:
                applicable = rate
        return applicable

    def scaled(self, factor: Decimal) -> Rate:
        """The same rate at a discount or surcharge."""
        return Rate(self.base * factor, tuple((start, rate * factor) for start, rate in self.tiers))


@dataclass(frozen=True, slots=True)
class Rates:
    """A model's price list. ``None`` means the provider publishes no separate rate for that class.

    A missing cache rate falls back to the input rate, as providers without a cache discount bill; a missing reasoning
    rate to the output rate. A missing input or output rate makes a call that used such tokens unpriceable, and so does
    a reasoning rate of its own when nobody said how much of the output was reasoning. Cache rates of their own make a
    call a range when nobody said how much of its prompt was cached: see ``price_range``.
    """

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
    per_call: Decimal = ZERO_USD

    @property
    def tell_cached_input_apart(self) -> bool:
        """Whether it matters to the price how much of a prompt was cached."""
        return any(rate is not None for rate in (self.cache_read, self.cache_write_5m, self.cache_write_1h))

    def scaled(self, factor: Decimal) -> Rates:
        """All token rates multiplied by ``factor`` (½ for most batch tiers)."""

        def scaled(rate: Rate | None) -> Rate | None:
            return rate and rate.scaled(factor)

        return Rates(
            input=scaled(self.input),
            output=scaled(self.output),
            cache_read=scaled(self.cache_read),
            cache_write_5m=scaled(self.cache_write_5m),
            cache_write_1h=scaled(self.cache_write_1h),
            reasoning=scaled(self.reasoning),
            per_call=self.per_call,
        )


class TokenCost(msgspec.Struct, frozen=True):
    """The dollars of one call by class, unrounded."""

    uncached_input: Decimal = ZERO_USD
    cache_read: Decimal = ZERO_USD
    cache_write: Decimal = ZERO_USD
    output: Decimal = ZERO_USD
    per_call: Decimal = ZERO_USD

    @property
    def total(self) -> Decimal:
        """Sum of the parts."""
        return self.uncached_input + self.cache_read + self.cache_write + self.output + self.per_call

    def __add__(self, other: TokenCost) -> TokenCost:
        return TokenCost(
            self.uncached_input + other.uncached_input,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.per_call + other.per_call,
        )


def price_call(counts: TokenCounts, rates: Rates) -> TokenCost | None:
    """Price one call: Σ class tokens × class rate in the call's tier / 10⁶, plus the fee per call.

    Returns ``None`` (unknown, not zero) when the call used tokens of a class that ``rates`` cannot price.

    >>> from decimal import Decimal as D
    >>> sonnet = Rates(input=Rate(D("2")), output=Rate(D("10")), cache_read=Rate(D("0.1")))
    >>> price_call(TokenCounts(uncached_input=20_000, cache_read=80_000, output=5_000), sonnet).total
    Decimal('0.098')
    """
    prompt = counts.input
    if counts.uncached_input and not counts.cache_known and rates.tell_cached_input_apart:
        return None
    uncached = _part(prompt, counts.uncached_input, rates.input)
    read: Decimal | None = ZERO_USD
    write_5m: Decimal | None = ZERO_USD
    write_1h: Decimal | None = ZERO_USD
    reasoning: Decimal | None = ZERO_USD
    if counts.cache_read:
        read = _part(prompt, counts.cache_read, rates.cache_read or rates.input)
    if counts.cache_write_5m:
        write_5m = _part(prompt, counts.cache_write_5m, rates.cache_write_5m or rates.input)
    if counts.cache_write_1h:
        write_1h = _part(prompt, counts.cache_write_1h, rates.cache_write_1h or rates.cache_write_5m or rates.input)
    if rates.reasoning is not None and counts.output and counts.reasoning is None:
        return None
    reasoned = counts.reasoning or 0 if rates.reasoning is not None else 0
    output = _part(prompt, counts.output - reasoned, rates.output)
    if reasoned:
        reasoning = _part(prompt, reasoned, rates.reasoning)
    if uncached is None or read is None or write_5m is None or write_1h is None or output is None or reasoning is None:
        return None
    return TokenCost(uncached, read, write_5m + write_1h, output + reasoning, rates.per_call)


def _part(prompt_tokens: int, tokens: int, rate: Rate | None) -> Decimal | None:
    if not tokens:
        return ZERO_USD
    return None if rate is None else tokens * rate.at(prompt_tokens) / TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Between which dollars a price lies, both ends possible, unrounded."""

    least: Decimal
    most: Decimal


def price_range(counts: TokenCounts, rates: Rates, *, calls: int | None = 1) -> PriceRange | None:
    """What counts can have cost when not all that decides the price is known.

    Unknown may be how much of the prompt was cached, how much of the output was reasoning, and, in the sum of more
    calls than one, how long each prompt was: any tier may hold whose threshold the sum exceeds.

    Args:
        counts: of one call, or the sum of several.
        rates: the price list.
        calls: how many calls ``counts`` adds up; ``None`` when nobody said.

    Returns:
        The range, a point when nothing is left open; ``None`` when ``rates`` cannot price a class that was used.

    >>> from decimal import Decimal as D
    >>> sonnet = Rates(input=Rate(D("2")), output=Rate(D("10")), cache_read=Rate(D("0.1")))
    >>> price_range(TokenCounts(uncached_input=100_000, output=5_000, cache_known=False), sonnet)
    PriceRange(least=Decimal('0.06'), most=Decimal('0.25'))
    """
    if calls is None and rates.per_call:
        return None
    prompt = counts.input
    reads = (rates.cache_read or rates.input,)
    writes_5m = (rates.cache_write_5m or rates.input,)
    writes_1h = (rates.cache_write_1h or rates.cache_write_5m or rates.input,)
    inputs = (rates.input,) if counts.cache_known else (rates.input, *reads, *writes_5m, *writes_1h)
    reasoned = 0
    outputs: tuple[Rate | None, ...] = (rates.output,)
    if rates.reasoning is not None:
        reasoned = counts.reasoning or 0
        outputs = (rates.output,) if counts.reasoning is not None else (rates.output, rates.reasoning)
    least = most = rates.per_call * (calls or 0)
    for count, candidates in (
        (counts.uncached_input, inputs),
        (counts.cache_read, reads),
        (counts.cache_write_5m, writes_5m),
        (counts.cache_write_1h, writes_1h),
        (counts.output - reasoned, outputs),
        (reasoned, (rates.reasoning,)),
    ):
        if not count:
            continue
        possible = [price for rate in candidates if rate is not None for price in _possible(rate, prompt, calls)]
        if len(possible) < len(candidates):
            return None
        least += count * min(possible) / TOKENS_PER_MILLION
        most += count * max(possible) / TOKENS_PER_MILLION
    return PriceRange(least, most)


def _possible(rate: Rate, prompt_tokens: int, calls: int | None) -> list[Decimal]:
    """The prices per million of which one or several may hold."""
    if calls == 1:
        return [rate.at(prompt_tokens)]
    return [rate.base, *(price for threshold, price in rate.tiers if prompt_tokens > threshold)]
