"""How sure the answer is: many draws of what one does not know, and what moves the result most.

This is statistics, in floating point; money that is booked or shown as *the* cost comes from the exact modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.economics.spread import FloatArray, Spread
from breakeven.errors import ScenarioError
from breakeven.units import HOURS_PER_MONTH, SECONDS_PER_MONTH

LOW, HIGH = 0.1, 0.9
"""Quantiles of the band and of a tornado's bars: eight draws in ten lie between."""

Values: TypeAlias = Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Uncertain:
    """What is drawn.

    Attributes:
        prefill_tokens_per_second: P, prompt tokens a box computes in a second.
        decode_tokens_per_second: G, tokens a box generates in a second, summed over parallel requests.
        tokens_monthly: M.
        price_decay_yearly: d, share by which the cloud's price falls in a year.
        resale_usd: R, what one box fetches at the end of the term.
        local_hit_rate: share of requests that find their prefix in the box's KV cache.
        usd_per_kwh: electricity tariff.
    """

    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread
    tokens_monthly: Spread
    price_decay_yearly: Spread
    resale_usd: Spread
    local_hit_rate: Spread
    usd_per_kwh: Spread

    def __post_init__(self) -> None:
        ranges = {
            "prefill_tokens_per_second": (1e-3, np.inf),
            "decode_tokens_per_second": (1e-3, np.inf),
            "tokens_monthly": (0.0, np.inf),
            "price_decay_yearly": (-np.inf, 1 - 1e-9),
            "resale_usd": (0.0, np.inf),
            "local_hit_rate": (0.0, 1.0),
            "usd_per_kwh": (0.0, np.inf),
        }
        for key, (least, most) in ranges.items():
            low, high = getattr(self, key).support
            if low < least or high > most:
                raise ScenarioError(key, f"{low:g} to {high:g}", f"values from {least:g} to {most:g} only")

    def spreads(self) -> dict[str, Spread]:
        """The uncertain quantities by name."""
        return {name: getattr(self, name) for name in LABELS}


LABELS = {
    "prefill_tokens_per_second": ("prefill speed", "tok/s"),
    "decode_tokens_per_second": ("decode speed", "tok/s"),
    "tokens_monthly": ("volume", "tokens/month"),
    "price_decay_yearly": ("cloud price decay", "share/year"),
    "resale_usd": ("resale", "$"),
    "local_hit_rate": ("prefix hit rate", "share"),
    "usd_per_kwh": ("electricity", "$/kWh"),
}


@dataclass(frozen=True, slots=True)
class Certain:
    """What is not drawn.

    Attributes:
        purchase_usd / term_months / capital_rate_monthly: K, T, i of one box.
        idle_watts / load_watts / pue / care_usd_monthly: its power and upkeep.
        utilisation: ρ, share of the time one plans to keep a box busy.
        prefill_per_request / prefix_per_request / output_per_request: mean tokens of a request; the prefix is the
            part of the prompt that a hit spares.
        overhead_seconds: mean time of a request that is neither prefill nor decode.
        cloud_usd_per_million: what the mix costs in the cloud today, priced per request.
    """

    purchase_usd: float
    term_months: int
    idle_watts: float
    load_watts: float
    prefill_per_request: float
    output_per_request: float
    cloud_usd_per_million: float
    prefix_per_request: float = 0.0
    capital_rate_monthly: float = 0.0
    pue: float = 1.0
    care_usd_monthly: float = 0.0
    utilisation: float = 0.7
    overhead_seconds: float = 0.0

    def __post_init__(self) -> None:
        require_positive("term_months", self.term_months)
        require_positive("utilisation", self.utilisation)
        require_positive("tokens per request", self.prefill_per_request + self.output_per_request)
        for key in self.__slots__:
            require_not_negative(key, getattr(self, key))
        if self.utilisation > 1:
            raise ScenarioError("utilisation", self.utilisation, "more than 0 and at most 1")
        if self.prefix_per_request > self.prefill_per_request:
            raise ScenarioError("prefix_per_request", self.prefix_per_request, "no more than the whole prompt")


@dataclass(frozen=True, slots=True)
class Band:
    """Monthly cost against volume at the quantiles ``LOW``, ½ and ``HIGH``; all arrays of one length."""

    tokens_monthly: FloatArray
    local_low: FloatArray
    local_median: FloatArray
    local_high: FloatArray
    cloud_low: FloatArray
    cloud_median: FloatArray
    cloud_high: FloatArray


@dataclass(frozen=True, slots=True)
class Swing:
    """What one uncertain quantity does to the monthly saving while the others stay at their central value."""

    name: str
    label: str
    unit: str
    low_value: float
    high_value: float
    saved_usd_at_low: float
    saved_usd_at_high: float

    @property
    def span_usd(self) -> float:
        """Length of the bar."""
        return abs(self.saved_usd_at_high - self.saved_usd_at_low)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The answer with its doubt.

    Attributes:
        probability_local_wins: share of draws in which local costs less over the term.
        draws: how many.
        saved_usd_low / saved_usd_median / saved_usd_high: monthly saving at the quantiles ``LOW``, ½ and ``HIGH``.
        saved_usd_central: saving with every quantity at its central value.
        tornado: one swing for each uncertain quantity, the largest first; those that move nothing left out.
    """

    probability_local_wins: float
    draws: int
    saved_usd_low: float
    saved_usd_median: float
    saved_usd_high: float
    saved_usd_central: float
    tornado: tuple[Swing, ...]

    @property
    def standard_error(self) -> float:
        """Of the probability, from the finite number of draws."""
        p = self.probability_local_wins
        return float(np.sqrt(p * (1 - p) / self.draws))


def likelihood(certain: Certain, uncertain: Uncertain, rng: np.random.Generator, *, draws: int = 10_000) -> Likelihood:
    """Draw all uncertain quantities independently and compare both sides over the term."""
    _require_draws(draws)
    spreads = uncertain.spreads()
    saved = _saved_usd(certain, {name: spread.sample(rng, draws) for name, spread in spreads.items()})
    low, median, high = np.quantile(saved, (LOW, 0.5, HIGH))
    central = {name: np.array([spread.central]) for name, spread in spreads.items()}
    swings = [_swing(certain, central, name, spread) for name, spread in spreads.items()]
    return Likelihood(
        probability_local_wins=float(np.mean(saved > 0)),
        draws=draws,
        saved_usd_low=float(low),
        saved_usd_median=float(median),
        saved_usd_high=float(high),
        saved_usd_central=float(_saved_usd(certain, central)[0]),
        tornado=tuple(sorted((s for s in swings if s.span_usd), key=lambda s: s.span_usd, reverse=True)),
    )


def band(
    certain: Certain,
    uncertain: Uncertain,
    tokens_monthly: Sequence[float],
    rng: np.random.Generator,
    *,
    draws: int = 2_000,
) -> Band:
    """Quantiles of both cost curves at given volumes, everything but the volume drawn."""
    _require_draws(draws)
    volumes = np.asarray(tokens_monthly, dtype=np.float64)
    for volume in volumes:
        require_not_negative("tokens_monthly", float(volume))
    drawn = {name: spread.sample(rng, draws)[:, np.newaxis] for name, spread in uncertain.spreads().items()}
    drawn["tokens_monthly"] = volumes[np.newaxis, :]
    shape = (draws, len(volumes))
    local = np.quantile(np.broadcast_to(local_usd_monthly(certain, drawn), shape), (LOW, 0.5, HIGH), axis=0)
    cloud = np.quantile(np.broadcast_to(cloud_usd_monthly(certain, drawn), shape), (LOW, 0.5, HIGH), axis=0)
    return Band(volumes, *local, *cloud)


def local_usd_monthly(certain: Certain, values: Values) -> FloatArray:
    """n·F + energy for each draw: the formulas of ``curve`` and ``local`` on arrays.

    s = prefill/P + output/G + overhead seconds a request, capacity = ρ · seconds of a month / s requests a box,
    n = max(1, ⌈requests / capacity⌉).
    """
    prefill = certain.prefill_per_request - certain.prefix_per_request * values["local_hit_rate"]
    seconds = (
        prefill / values["prefill_tokens_per_second"]
        + certain.output_per_request / values["decode_tokens_per_second"]
        + certain.overhead_seconds
    )
    requests = values["tokens_monthly"] / (certain.prefill_per_request + certain.output_per_request)
    busy_seconds = requests * seconds
    boxes = np.maximum(1.0, np.ceil(busy_seconds / (certain.utilisation * SECONDS_PER_MONTH)))
    tariff = values["usd_per_kwh"] * certain.pue / 1000
    fixed = (
        (certain.purchase_usd - values["resale_usd"] / (1 + certain.capital_rate_monthly) ** certain.term_months)
        / _annuity_months(certain)
        + tariff * certain.idle_watts * HOURS_PER_MONTH
        + certain.care_usd_monthly
    )
    energy = tariff * (certain.load_watts - certain.idle_watts) * busy_seconds / 3600
    return np.asarray(boxes * fixed + energy, dtype=np.float64)


def cloud_usd_monthly(certain: Certain, values: Values) -> FloatArray:
    """The level monthly payment worth as much today as the term's cloud bills, c·M·(1 − d)^t with t in months.

    Set against the box's annuity it has the sign of the net present value.
    """
    monthly = (1 - values["price_decay_yearly"]) ** (1 / 12) / (1 + certain.capital_rate_monthly)
    months = np.arange(1, certain.term_months + 1)
    present_months = np.power(monthly[..., np.newaxis], months).sum(axis=-1)
    today = values["tokens_monthly"] / 1e6 * certain.cloud_usd_per_million
    return np.asarray(today * present_months / _annuity_months(certain), dtype=np.float64)


def _annuity_months(certain: Certain) -> float:
    """Present value of one dollar a month over the term; the number of months at zero interest."""
    i = certain.capital_rate_monthly
    return float((1 - (1 + i) ** -certain.term_months) / i) if i else float(certain.term_months)


def _saved_usd(certain: Certain, values: Values) -> FloatArray:
    return cloud_usd_monthly(certain, values) - local_usd_monthly(certain, values)


def _swing(certain: Certain, central: Values, name: str, spread: Spread) -> Swing:
    low, high = spread.quantile(LOW), spread.quantile(HIGH)
    label, unit = LABELS[name]
    at_low, at_high = (float(_saved_usd(certain, {**central, name: np.array([value])})[0]) for value in (low, high))
    return Swing(name, label, unit, low, high, at_low, at_high)


def _require_draws(draws: int) -> None:
    if draws < 1:
        raise ScenarioError("draws", draws, "at least 1")
