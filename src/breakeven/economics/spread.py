"""Uncertain quantities: what one knows of a figure, to be drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from breakeven.economics.domain import require_finite, require_not_negative
from breakeven.errors import ScenarioError

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A figure taken as certain."""

    value: float

    def __post_init__(self) -> None:
        require_finite("value", self.value)

    @property
    def central(self) -> float:
        """The value itself."""
        return self.value

    @property
    def support(self) -> tuple[float, float]:
        """Least and greatest possible value."""
        return self.value, self.value

    def quantile(self, _probability: float) -> float:
        """The value itself."""
        return self.value

    def sample(self, _rng: np.random.Generator, draws: int) -> FloatArray:
        """The value, ``draws`` times."""
        return np.full(draws, self.value)


@dataclass(frozen=True, slots=True)
class Triangular:
    """Between ``low`` and ``high``, most likely ``mode``."""

    low: float
    mode: float
    high: float

    def __post_init__(self) -> None:
        for key, value in (("low", self.low), ("mode", self.mode), ("high", self.high)):
            require_finite(key, value)
        if not self.low <= self.mode <= self.high or self.low == self.high:
            raise ScenarioError("triangular", [self.low, self.mode, self.high], "low <= mode <= high and low < high")

    @property
    def central(self) -> float:
        """The most likely value."""
        return self.mode

    @property
    def support(self) -> tuple[float, float]:
        """Least and greatest possible value."""
        return self.low, self.high

    def quantile(self, probability: float) -> float:
        """The value that a draw stays below with this probability."""
        width, rise = self.high - self.low, self.mode - self.low
        if probability * width <= rise:
            return self.low + math.sqrt(probability * width * rise)
        return self.high - math.sqrt((1 - probability) * width * (self.high - self.mode))

    def sample(self, rng: np.random.Generator, draws: int) -> FloatArray:
        """Independent draws."""
        return rng.triangular(self.low, self.mode, self.high, draws)


@dataclass(frozen=True, slots=True)
class Normal:
    """Around ``mean`` by ``deviation``; a draw beyond a bound is moved to the bound."""

    mean: float
    deviation: float
    at_least: float = -math.inf
    at_most: float = math.inf

    def __post_init__(self) -> None:
        require_finite("mean", self.mean)
        require_not_negative("deviation", self.deviation)
        if not self.at_least <= self.mean <= self.at_most:
            raise ScenarioError("normal.mean", self.mean, f"a value from {self.at_least} to {self.at_most}")

    @property
    def central(self) -> float:
        """The mean."""
        return self.mean

    @property
    def support(self) -> tuple[float, float]:
        """Least and greatest possible value."""
        return (self.at_least, self.at_most) if self.deviation else (self.mean, self.mean)

    def quantile(self, probability: float) -> float:
        """The value that a draw stays below with this probability."""
        value = NormalDist(self.mean, self.deviation).inv_cdf(probability) if self.deviation else self.mean
        return min(max(value, self.at_least), self.at_most)

    def sample(self, rng: np.random.Generator, draws: int) -> FloatArray:
        """Independent draws."""
        return np.clip(rng.normal(self.mean, self.deviation, draws), self.at_least, self.at_most)


Spread: TypeAlias = Fixed | Triangular | Normal
