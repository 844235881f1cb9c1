"""A scenario: what one wants to know, typed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from breakeven.config import BoxSettings
from breakeven.errors import ScenarioError

MOST_BURST_CALLS = 50_000
"""Of a burst: each is run against the limits of every account."""


class Section(BaseModel):
    """A table of the file: unknown keys are errors, so are NaN and infinities; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Workload(Section):
    """What is to be served. How much: agents on a schedule, requests a day, or tokens a month."""

    agents: int | None = Field(default=None, ge=1, le=100_000)
    """Agents that wake on a schedule."""
    wakes_per_hour: float = Field(default=12, ge=0.001, le=3600)
    """How often each agent wakes."""
    calls_per_wake: int = Field(default=1, ge=1, le=1000)
    """Model calls of one wake."""
    requests_per_day: float | None = Field(default=None, ge=0.01, le=1e9)
    """Requests a day, where there are no scheduled agents."""
    tokens_monthly: int | None = Field(default=None, ge=1, le=10**15)
    """Tokens a month, prompt and output together, where not even the requests are known."""
    input_tokens: int = Field(default=2000, ge=0, le=10_000_000)
    """Prompt of a request, cached parts included."""
    output_tokens: int = Field(default=150, ge=0, le=1_000_000)
    """Output of a request, reasoning included."""
    prefix_tokens: int = Field(default=0, ge=0, le=10_000_000)
    """Leading part of the prompt that comes again: system prompt, tools, history."""
    local_hit_rate: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Share of requests that find their prefix in the box's KV cache."""
    cloud_hit_rate: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Share of requests that find it in the provider's cache; billed at its cache rates."""
    cloud_writes_cache: bool = False
    """Misses are billed at the cache-write rate, as Anthropic bills."""
    batch_share: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Share of requests that could go through the provider's batch tier."""
    peak_factor: float = Field(default=1, ge=1, le=1000)
    """Arrivals of the busiest hour over the mean."""
    burst_topics: int = Field(default=40, ge=1, le=2000)
    """Topics that are sometimes worked on all at once."""


class Box(Section):
    """The machine; what is not given comes from the catalogue."""

    machine: str | None = None
    """A machine of the catalogue (`breakeven machines`)."""
    purchase_usd: Decimal | None = Field(default=None, ge=0, le=10_000_000)
    """Price of one box; 0 when it is owned already."""
    resale_usd: Decimal = Field(default=Decimal(0), ge=0, le=10_000_000)
    """Value at the end of the term."""
    term_months: int = Field(default=36, ge=1, le=240)
    """Months over which it is written off."""
    capital_rate_yearly: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Cost of capital a year."""
    idle_watts: Decimal | None = Field(default=None, ge=0, le=100_000)
    """Draw when idle."""
    load_watts: Decimal | None = Field(default=None, ge=0, le=100_000)
    """Draw while serving."""
    usd_per_kwh: Decimal | None = Field(default=None, ge=0, le=5)
    """Electricity tariff."""
    tariff: str | None = None
    """A place of the tariff table, for instance `US-CA` or `DE`, instead of `usd_per_kwh`."""
    pue: Decimal = Field(default=Decimal(1), ge=1, le=3)
    """Power usage effectiveness."""
    care_hours_monthly: Decimal = Field(default=Decimal(0), ge=0, le=744)
    """Hours a month spent on updates, restarts, heat."""
    wage_usd_hourly: Decimal = Field(default=Decimal(0), ge=0, le=10_000)
    """What such an hour costs."""
    upkeep_usd_monthly: Decimal = Field(default=Decimal(0), ge=0, le=1_000_000)
    """Whatever else it costs a month: a rack, insurance, repairs."""
    count: int = Field(default=1, ge=1, le=10_000)
    """Boxes one has or is ready to buy."""

    def settings(self) -> BoxSettings:
        """The part that the configuration's `[box]` has as well."""
        return BoxSettings(**self.model_dump(exclude={"tariff", "count"}))


class Serving(Section):
    """How the box serves the model."""

    model: str = "llama-3.3-70b-q4_k_m"
    """A model shape of the catalogue."""
    prefill_tokens_per_second: float | None = Field(default=None, ge=0.01, le=10_000_000)
    """Measured on your box; replaces the catalogue's."""
    decode_tokens_per_second: float | None = Field(default=None, ge=0.01, le=1_000_000)
    """Measured on your box; replaces the catalogue's."""
    overhead_seconds: float = Field(default=0, ge=0, le=3600)
    """Time of a request that is neither prefill nor decode."""
    utilisation: float = Field(default=0.7, ge=0.01, lt=1)
    """Share of the time one plans to keep a box busy."""
    max_wait_seconds: float = Field(default=60, ge=0, le=86_400)
    """The wait that 95 % of requests shall not exceed at peak."""
    slots: int = Field(default=1, ge=1, le=64)
    """Requests a box serves at once."""
    context_tokens: int = Field(default=8192, ge=256, le=10_000_000)
    """Context of each slot."""
    flash_attention: bool = True
    """Without it, attention scores take memory that grows with the context."""


class Cloud(Section):
    """Whom the box competes with; models are named `provider/model` as in the price book."""

    frontier: str = Field(default="anthropic/claude-sonnet-5-5", pattern=r"^[^/]+/.+$")
    """The model used now, or that would be used."""
    hosted: str | Literal["none"] | None = None
    """The same open model hosted by others; unset: the cheapest host the catalogue knows; `none`: not compared."""
    small: str | Literal["none"] = "anthropic/claude-haiku-5-5"
    """A small frontier-family model; `none`: not compared."""
    usd_per_million: Decimal | None = Field(default=None, ge=Decimal("0.000001"), le=100_000)
    """A blended price to try out instead of the frontier's own: a what-if, since a real one depends on the mix."""
    price_decay_yearly: tuple[float, float, float] = (0.0, 0.3, 0.6)
    """Share by which cloud prices fall in a year: least, most likely, most."""
    tokens_per_second: float = Field(default=60, ge=0.01, le=100_000)
    """Output speed of one request there, for bursts."""


class Escalation(Section):
    """Tasks that the local model does not get right and the cloud does again."""

    share: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Share of requests paid twice: the local attempt and the cloud's."""
    rework_usd_per_million: Decimal = Field(default=Decimal(0), ge=0, le=1_000_000)
    """What repairing accepted-but-wrong answers costs, per million tokens."""
    accepted_share: Decimal = Field(default=Decimal(1), ge=Decimal("0.01"), le=1)
    """Share of requests whose answer is accepted in the end, local first."""
    cloud_accepted_share: Decimal = Field(default=Decimal(1), ge=Decimal("0.01"), le=1)
    """The same when all go to the frontier at once."""
    quality_measured: bool = False
    """Whether the local model has been held against the frontier on your own tasks."""


class Doubt(Section):
    """How unsure the inputs are, as shares of each, and how often to draw."""

    speed: float = Field(default=0.2, ge=0, lt=1)
    """Prefill and decode."""
    volume: float = Field(default=0.3, ge=0, lt=1)
    """Tokens a month."""
    hit_rate: float = Field(default=0.1, ge=0, lt=1)
    """Prefix hit rate, in points."""
    usd_per_kwh: float = Field(default=0.2, ge=0, lt=1)
    """Electricity tariff."""
    resale: float = Field(default=0.25, ge=0, lt=1)
    """Resale value as a share of the purchase price, at most."""
    draws: int = Field(default=10_000, ge=100, le=1_000_000)
    """Monte Carlo draws."""
    seed: int = Field(default=1, ge=0)
    """Of the random numbers: the same scenario always gives the same answer."""


class Scenario(Section):
    """The whole file."""

    name: str = "your scenario"
    """Shown in titles."""
    workload: Workload = Workload()
    box: Box = Box()
    serving: Serving = Serving()
    cloud: Cloud = Cloud()
    escalation: Escalation = Escalation()
    doubt: Doubt = Doubt()


def parse(document: Mapping[str, Any]) -> Scenario:
    """Check a document.

    Raises:
        ScenarioError: naming the first wrong key, its value and what is allowed there.
    """
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ScenarioError(key, first["input"], "no such key") from None
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise ScenarioError(key, first["input"], f"{allowed}{_range(key)}") from None
    _check_together(scenario)
    return scenario


def _range(key: str) -> str:
    """The whole range allowed at a key, as pydantic's message names only the bound that was crossed."""
    section, _, name = key.partition(".")
    fields = getattr(Scenario.model_fields.get(section), "annotation", None)
    field = getattr(fields, "model_fields", {}).get(name.split(".")[0])
    bounds: dict[str, Any] = {}
    for constraint in getattr(field, "metadata", ()):
        for word in ("gt", "ge", "lt", "le"):
            if hasattr(constraint, word):
                bounds[word] = getattr(constraint, word)
    if not bounds:
        return ""
    low = f"more than {_plain(bounds['gt'])}" if "gt" in bounds else _plain(bounds["ge"]) if "ge" in bounds else "any"
    high = f"less than {_plain(bounds['lt'])}" if "lt" in bounds else _plain(bounds["le"]) if "le" in bounds else "any"
    return f" (allowed: {low} to {high})"


def _plain(number: float | Decimal) -> str:
    """A bound without an exponent.

    >>> _plain(1e9), _plain(Decimal("0.000001")), _plain(0.7)
    ('1,000,000,000', '0.000001', '0.7')
    """
    return f"{float(number):,.6f}".rstrip("0").rstrip(".")


def _check_together(scenario: Scenario) -> None:
    work, box = scenario.workload, scenario.box
    ways = {"agents": work.agents, "requests_per_day": work.requests_per_day, "tokens_monthly": work.tokens_monthly}
    given = [f"workload.{key}" for key, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ScenarioError(given[1], ways[given[1].split(".")[1]], f"nothing, since {given[0]} already says how much")
    if not work.input_tokens + work.output_tokens:
        raise ScenarioError("workload.input_tokens", 0, "a request with at least one token")
    if work.prefix_tokens > work.input_tokens:
        allowed = f"0 to {work.input_tokens}, the tokens of the prompt"
        raise ScenarioError("workload.prefix_tokens", work.prefix_tokens, allowed)
    if work.burst_topics * work.calls_per_wake > MOST_BURST_CALLS:
        allowed = f"1 to {MOST_BURST_CALLS // work.calls_per_wake} with {work.calls_per_wake} calls each"
        raise ScenarioError("workload.burst_topics", work.burst_topics, allowed)
    if box.tariff is not None and box.usd_per_kwh is not None:
        raise ScenarioError("box.tariff", box.tariff, "nothing, since box.usd_per_kwh already says the price")
    if box.idle_watts is not None and box.load_watts is not None and box.load_watts < box.idle_watts:
        allowed = f"at least box.idle_watts = {box.idle_watts}"
        raise ScenarioError("box.load_watts", str(box.load_watts), allowed)
    if box.purchase_usd is not None and box.resale_usd > max(box.purchase_usd, Decimal(0)):
        allowed = f"0 to {box.purchase_usd}, the price paid"
        raise ScenarioError("box.resale_usd", str(box.resale_usd), allowed)
    if work.input_tokens + work.output_tokens > scenario.serving.context_tokens:
        allowed = f"at least {work.input_tokens + work.output_tokens}, the tokens of a request"
        raise ScenarioError("serving.context_tokens", scenario.serving.context_tokens, allowed)
    least, likely, most = scenario.cloud.price_decay_yearly
    if not -10 < least <= likely <= most < 1:
        value = list(scenario.cloud.price_decay_yearly)
        raise ScenarioError("cloud.price_decay_yearly", value, "rising shares from above -10 to below 1")
