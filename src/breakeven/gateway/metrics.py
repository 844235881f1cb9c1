"""Prometheus metrics, all taken from the record of a call as it enters the books."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from breakeven.ledger.records import Attempt, Call

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKET_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, float("inf"))
CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
TARGET = ("provider", "model")
Gauges = Callable[[], Iterable[tuple[str, str, dict[str, str], float]]]
"""Gives name, help, labels and value of each gauge at the time it is read."""


class Metrics(Collector):
    """Counts calls as they are booked. Labels have few values each: names of the configuration, never of callers.

    Counting is plain arithmetic on the path of a call; Prometheus' own types are made when somebody reads. Amounts that
    are unknown are counted as unknown and not as zero.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._calls: Counter[str] = Counter()
        self._targets: dict[tuple[str, str], _Target] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def observe(self, call: Call) -> None:
        """Count a call and its attempts."""
        self._calls[call.outcome] += 1
        for attempt in call.attempts:
            key = (attempt.provider, attempt.model_asked)
            target = self._targets.get(key)
            if target is None:
                target = self._targets[key] = _Target()
            target.observe(attempt)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def totals(self) -> list[dict[str, Any]]:
        """What was counted of each target since the start, as plain data."""
        return [
            {
                "provider": provider,
                "model": model,
                "attempts": sum(target.outcomes.values()),
                "tokens": dict(target.tokens),
                "usd": target.usd,
                "unknown_costs": target.unknown,
                "counterfactual_usd": target.counterfactual,
                "watt_hours": target.watt_hours,
            }
            for (provider, model), target in self._targets.items()
        ]

    def describe(self) -> list[Metric]:
        """Nothing to say before there are calls."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics as they stand."""
        calls = CounterMetricFamily("breakeven_calls", "Calls by how they ended", labels=("outcome",))
        for outcome, count in self._calls.items():
            calls.add_metric((outcome,), count)
        yield calls
        yield from self._by_outcome_and_class()
        for name, text, field in (
            ("breakeven_cost_usd", "Cost, a local attempt's in full", "usd"),
            ("breakeven_cost_unknown", "Attempts of which the cost is unknown", "unknown"),
            ("breakeven_counterfactual_usd", "What the reference model would have charged", "counterfactual"),
            ("breakeven_watt_hours", "Marginal energy", "watt_hours"),
        ):
            family = CounterMetricFamily(name, text, labels=TARGET)
            for key, target in self._targets.items():
                family.add_metric(key, getattr(target, field))
            yield family
        for name, text, field in (
            ("breakeven_attempt_seconds", "Whole attempt", "seconds"),
            ("breakeven_first_token_seconds", "Arrival to first token", "first_token"),
        ):
            histogram = HistogramMetricFamily(name, text, labels=TARGET)
            for key, target in self._targets.items():
                spread: _Spread = getattr(target, field)
                histogram.add_metric(key, spread.buckets(), spread.total)
            yield histogram
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._gauges():
            gauge = families.setdefault(name, GaugeMetricFamily(name, text, labels=tuple(labels)))
            gauge.add_metric(tuple(labels.values()), value)
        yield from families.values()

    def _by_outcome_and_class(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "breakeven_attempts", "Attempts by target and how they ended", labels=(*TARGET, "outcome")
        )
        tokens = CounterMetricFamily("breakeven_tokens", "Tokens by class", labels=(*TARGET, "class"))
        for key, target in self._targets.items():
            for outcome, count in target.outcomes.items():
                attempts.add_metric((*key, outcome), count)
            for name, count in target.tokens.items():
                tokens.add_metric((*key, name), count)
        yield attempts
        yield tokens


class _Target:
    """What was counted of one model of one provider."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.tokens = dict.fromkeys(CLASSES, 0)
        self.usd = self.counterfactual = self.watt_hours = 0.0
        self.unknown = 0
        self.seconds, self.first_token = _Spread(), _Spread()

    def observe(self, attempt: Attempt) -> None:
        self.outcomes[attempt.outcome] += 1
        counts, tokens = attempt.tokens, self.tokens
        if counts is not None:
            tokens["uncached_input"] += counts.uncached_input
            tokens["cache_read"] += counts.cache_read
            tokens["cache_write_5m"] += counts.cache_write_5m
            tokens["cache_write_1h"] += counts.cache_write_1h
            tokens["output"] += counts.output
        cost = attempt.cost
        if cost is None:
            self.unknown += 1
        else:
            self.usd += float(cost)
        self.counterfactual += float(attempt.money.counterfactual or 0)
        self.watt_hours += attempt.watt_hours or 0.0
        durations = attempt.durations
        if durations.total is not None:
            self.seconds.add(durations.total)
        if durations.first_token is not None:
            self.first_token.add(durations.first_token)


class _Spread:
    """A histogram of durations."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * len(BUCKET_SECONDS)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKET_SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds and how many lie at or below each, as Prometheus wants them."""
        bounds = ["+Inf" if bound == float("inf") else str(float(bound)) for bound in BUCKET_SECONDS]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
