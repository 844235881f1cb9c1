"""The cloud's side of a scenario: which models come into question and what the mix costs with each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from breakeven.catalog.prices import PriceRow
from breakeven.catalog.shapes import ListedShape
from breakeven.economics.verdict import CloudOption
from breakeven.economics.workload import PrefixReuse, RequestClass, RequestMix, cloud_price
from breakeven.planning.scenario import Scenario, Workload
from breakeven.units import TOKENS_PER_MILLION, Usd

NOT_COMPARED = "none"


class Prices(Protocol):
    """What planning needs of the price book."""

    def find(self, provider: str, model: str, *, at: datetime, batch: bool = False) -> PriceRow | None:
        """The row for a model at a provider, ``None`` when its price is not known."""
        ...


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model in the cloud with its price for this mix of requests; ``None`` is unknown.

    Attributes:
        role: ``frontier``, ``hosted`` or ``small``.
        name: ``provider/model``, or a what-if.
        usd_per_million: per million tokens of this mix, cache, tiers and batch included.
        usd_per_request: mean over its requests, each priced in its own tier.
        source / effective / snapshot: of the price.
    """

    role: str
    name: str
    usd_per_million: Usd | None
    usd_per_request: Usd | None = None
    source: str = "unknown"
    effective: date | None = None
    snapshot: str | None = None

    @property
    def option(self) -> CloudOption:
        """As the verdict takes it."""
        return CloudOption(self.name, self.usd_per_million)


def mix_of(work: Workload) -> RequestMix:
    """The scenario's requests as a mix; reuse on each side is its own and stated."""
    requests = RequestClass(
        "requests",
        input_tokens=work.input_tokens,
        output_tokens=work.output_tokens,
        prefix_tokens=work.prefix_tokens,
        cloud=PrefixReuse(work.cloud_hit_rate, work.cloud_writes_cache),
        local=PrefixReuse(work.local_hit_rate),
        batch_share=work.batch_share,
    )
    return RequestMix((requests,))


def priced(role: str, name: str, mix: RequestMix, prices: Prices, at: datetime) -> PricedModel:
    """The price of a mix with ``provider/model``."""
    provider, _, model = name.partition("/")
    row = prices.find(provider, model, at=at)
    if row is None:
        return PricedModel(role, name, None)
    batch = prices.find(provider, model, at=at, batch=True)
    price = cloud_price(mix, row.rates, None if batch is None else batch.rates)
    return PricedModel(
        role=role,
        name=name,
        usd_per_million=None if price is None else price.usd_per_million,
        usd_per_request=None if price is None else price.usd_per_request,
        source=row.source,
        effective=row.effective,
        snapshot=row.snapshot,
    )


def what_if(usd_per_million: Decimal, mix: RequestMix) -> PricedModel:
    """A blended price that somebody wants to try out; real ones depend on the mix and are computed."""
    per_request = mix.tokens_per_request * usd_per_million / TOKENS_PER_MILLION
    name = f"a blended ${usd_per_million}/M"
    return PricedModel("frontier", name, usd_per_million, per_request, source="assumed: a what-if")


def rivals(scenario: Scenario, listed: ListedShape, prices: Prices, at: datetime) -> tuple[PricedModel, ...]:
    """The frontier model, the same model hosted by others, the small frontier model; those not compared left out."""
    cloud, mix = scenario.cloud, mix_of(scenario.workload)
    frontier = (
        priced("frontier", cloud.frontier, mix, prices, at)
        if cloud.usd_per_million is None
        else what_if(cloud.usd_per_million, mix)
    )
    found = [frontier]
    if cloud.hosted is None:
        hosts = [priced("hosted", name, mix, prices, at) for name in listed.hosted_as]
        known = [
            (host.usd_per_million, number) for number, host in enumerate(hosts) if host.usd_per_million is not None
        ]
        if known:
            found.append(hosts[min(known)[1]])
    elif cloud.hosted != NOT_COMPARED:
        found.append(priced("hosted", cloud.hosted, mix, prices, at))
    if cloud.small != NOT_COMPARED:
        found.append(priced("small", cloud.small, mix, prices, at))
    return tuple(found)
