"""What the simulated cloud offers and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from breakeven.cloudsim.counters import Counters
from breakeven.cloudsim.faults import FaultPlan
from breakeven.cloudsim.invoice import Invoice, PriceList
from breakeven.cloudsim.order import Order
from breakeven.cloudsim.prompt_cache import Lookup, PromptCache
from breakeven.cloudsim.rate_limits import Account
from breakeven.cloudsim.serving import Latency
from breakeven.economics.limits import AccountLimits

UNLIMITED = AccountLimits("unlimited")
MOST_ACCOUNTS = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What the simulated cloud offers.

    Attributes:
        prices: price list of each model that it serves.
        limits: what each key may use of each model.
        latency: how fast its models are.
    """

    prices: Mapping[str, PriceList]
    limits: AccountLimits = UNLIMITED
    latency: Latency = field(default_factory=Latency)


class State:
    """Invoice, counters, caches, limits and faults.

    Args:
        terms: what is offered.
        clock: monotonic seconds, for caches and limits.
    """

    def __init__(self, terms: Terms, clock: Callable[[], float]) -> None:
        self.terms = terms
        self.faults = FaultPlan()
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything; doing so twice is as doing so once."""
        self.invoice = Invoice(self.terms.prices)
        self.counters = Counters()
        self.faults.clear()
        self.cache = PromptCache(self._clock)
        self._accounts: dict[tuple[str, str], Account] = {}

    def account(self, key: str, model: str) -> Account:
        """The rate limits of a key at a model; of more than ten thousand the oldest start afresh."""
        found = self._accounts.get((key, model))
        if found is None:
            if len(self._accounts) >= MOST_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
            found = self._accounts[key, model] = Account(self.terms.limits, self._clock)
        return found

    def look_up(self, provider: str, key: str, order: Order) -> Lookup:
        """What the prompt finds in the provider's kind of cache."""
        owner = f"{provider}/{key}/{order.model}"
        return (self.cache.marked if provider == "anthropic" else self.cache.automatic)(owner, order.blocks)
