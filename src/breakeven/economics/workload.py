"""A mix of requests: what it takes from a box, and what it costs in the cloud, priced request by request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from breakeven.economics.domain import require_positive, require_share
from breakeven.economics.rates import Rates, price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import ScenarioError
from breakeven.units import TOKENS_PER_MILLION, Usd

ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class PrefixReuse:
    """How a side treats the part of a prompt that comes again.

    Attributes:
        hit_rate: share of requests that find their prefix in the cache; the others compute (or write) it.
        written: a miss writes the prefix to a cache billed at the five-minute write rate, as Anthropic bills.
    """

    hit_rate: Decimal = Decimal(0)
    written: bool = False

    def __post_init__(self) -> None:
        require_share("hit_rate", self.hit_rate)


@dataclass(frozen=True, slots=True)
class RequestClass:
    """Requests of one kind.

    Attributes:
        name: what the user calls them.
        weight: relative frequency; only ratios count.
        input_tokens: whole prompt, prefix included.
        output_tokens: generated tokens.
        prefix_tokens: leading part of the prompt shared with earlier requests.
        cloud / local: reuse of that prefix on either side; a discount that only one side gets is stated, not implied.
        batch_share: share of requests that can wait and goes through the provider's batch tier.
    """

    name: str
    input_tokens: int
    output_tokens: int
    weight: Decimal = ONE
    prefix_tokens: int = 0
    cloud: PrefixReuse = PrefixReuse()
    local: PrefixReuse = PrefixReuse()
    batch_share: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        require_positive(f"{self.name}.weight", self.weight)
        require_share(f"{self.name}.batch_share", self.batch_share)
        for key, value in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if value < 0:
                raise ScenarioError(f"{self.name}.{key}", value, "0 tokens or more")
        if not 0 <= self.prefix_tokens <= self.input_tokens:
            raise ScenarioError(f"{self.name}.prefix_tokens", self.prefix_tokens, f"0 to {self.input_tokens} tokens")
        if not self.tokens:
            raise ScenarioError(f"{self.name}.input_tokens", 0, "a request with at least one token")

    @property
    def tokens(self) -> int:
        """Prompt and output together."""
        return self.input_tokens + self.output_tokens

    def outcomes(self, reuse: PrefixReuse) -> tuple[tuple[Decimal, TokenCounts], ...]:
        """The two ways a request can go, hit and miss, each with its probability and its token counts."""
        suffix = self.input_tokens - self.prefix_tokens
        hit = TokenCounts(uncached_input=suffix, cache_read=self.prefix_tokens, output=self.output_tokens)
        if reuse.written:
            miss = TokenCounts(uncached_input=suffix, cache_write_5m=self.prefix_tokens, output=self.output_tokens)
        else:
            miss = TokenCounts(uncached_input=self.input_tokens, output=self.output_tokens)
        return ((reuse.hit_rate, hit), (ONE - reuse.hit_rate, miss))


@dataclass(frozen=True, slots=True)
class RequestMix:
    """Classes of requests in fixed proportions."""

    classes: tuple[RequestClass, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ScenarioError("workload.classes", [], "at least one class of requests")

    def mean(self, quantity: Callable[[RequestClass], Decimal | int]) -> Decimal:
        """Mean of a quantity over the requests of the mix."""
        total = sum((c.weight for c in self.classes), Decimal(0))
        return sum((c.weight * quantity(c) for c in self.classes), Decimal(0)) / total

    @property
    def tokens_per_request(self) -> Decimal:
        """Mean prompt and output tokens of a request, cached ones included."""
        return self.mean(lambda c: c.tokens)

    @property
    def output_per_request(self) -> Decimal:
        """Mean output tokens of a request."""
        return self.mean(lambda c: c.output_tokens)

    @property
    def local_prefill_per_request(self) -> Decimal:
        """Mean prompt tokens the box must compute, those found in its KV cache left out."""
        return self.mean(lambda c: c.input_tokens - c.prefix_tokens * c.local.hit_rate)

    def requests_monthly(self, tokens_monthly: int) -> Decimal:
        """Requests behind M tokens a month."""
        return tokens_monthly / self.tokens_per_request

    def tokens_monthly(self, requests_monthly: Decimal) -> Decimal:
        """M, the tokens behind so many requests a month."""
        return requests_monthly * self.tokens_per_request


@dataclass(frozen=True, slots=True)
class CloudPrice:
    """What the mix costs with one model, on average over its requests.

    Attributes:
        usd_per_request: mean over requests, each priced in its own tier.
        usd_per_million: the same per million tokens: the "blended price", an outcome and never an input.
    """

    usd_per_request: Usd
    usd_per_million: Usd


def cloud_price(mix: RequestMix, rates: Rates, batch_rates: Rates | None = None) -> CloudPrice | None:
    """Price every class of the mix per request, hit and miss, interactive and batch, and average by frequency.

    ``batch_rates`` is the provider's batch price list; without one, requests that could wait pay the full price.
    ``None`` when the rates cannot price a class of tokens that the mix uses.

    >>> agent = RequestClass("agent", input_tokens=2000, output_tokens=150)
    >>> from breakeven.economics.rates import Rate
    >>> price = cloud_price(RequestMix((agent,)), Rates(input=Rate(Decimal(3)), output=Rate(Decimal(15))))
    >>> price.usd_per_request, round(price.usd_per_million, 2)
    (Decimal('0.00825'), Decimal('3.84'))
    """
    weighted = Decimal(0)
    for request in mix.classes:
        usd = _class_usd(request, rates, batch_rates or rates)
        if usd is None:
            return None
        weighted += request.weight * usd
    per_request = weighted / sum((c.weight for c in mix.classes), Decimal(0))
    return CloudPrice(per_request, per_request / mix.tokens_per_request * TOKENS_PER_MILLION)


def _class_usd(request: RequestClass, rates: Rates, batch_rates: Rates) -> Usd | None:
    usd = Decimal(0)
    for share, price_list in ((ONE - request.batch_share, rates), (request.batch_share, batch_rates)):
        for probability, counts in request.outcomes(request.cloud):
            if not share * probability:
                continue
            cost = price_call(counts, price_list)
            if cost is None:
                return None
            usd += share * probability * cost.total
    return usd
