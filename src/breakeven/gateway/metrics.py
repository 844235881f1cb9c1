"""Prometheus metrics, all taken from the record of a call as it enters the books."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
Gauges = Callable[[], Iterable[tuple[str, str, dict[str, str], float]]]
"""Gives name, help, labels and value of each gauge at the time it is read."""


class Metrics:
    """Counts calls as they are booked. Labels have few values each: names of the configuration, never of callers.

    Amounts that are unknown are counted as unknown and not as zero.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        target = ("provider", "model")
        registry = self._registry
        self._calls = Counter("breakeven_calls", "Calls by how they ended", ("outcome",), registry=registry)
        self._attempts = Counter(
            "breakeven_attempts", "Attempts by target and how they ended", (*target, "outcome"), registry=registry
        )
        self._tokens = Counter("breakeven_tokens", "Tokens by class", (*target, "class"), registry=registry)
        self._usd = Counter("breakeven_cost_usd", "Cost, a local attempt's in full", target, registry=registry)
        self._counterfactual = Counter(
            "breakeven_counterfactual_usd", "What the reference model would have charged", target, registry=registry
        )
        self._unknown = Counter(
            "breakeven_cost_unknown", "Attempts of which the cost is unknown", target, registry=registry
        )
        self._watt_hours = Counter("breakeven_watt_hours", "Marginal energy", target, registry=registry)
        self._seconds = Histogram(
            "breakeven_attempt_seconds", "Whole attempt", target, buckets=SECONDS, registry=registry
        )
        self._first = Histogram(
            "breakeven_first_token_seconds", "Arrival to first token", target, buckets=SECONDS, registry=registry
        )
        registry.register(_Live(gauges))

    def observe(self, call: Call) -> None:
        """Count a call and its attempts."""
        self._calls.labels(call.outcome).inc()
        for attempt in call.attempts:
            self._observe(attempt)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _observe(self, attempt: Attempt) -> None:
        target = (attempt.provider, attempt.model_asked)
        self._attempts.labels(*target, attempt.outcome).inc()
        if isinstance(attempt.tokens, TokenCounts):
            for name in _CLASSES:
                if count := getattr(attempt.tokens, name):
                    self._tokens.labels(*target, name).inc(count)
        cost = attempt.cost
        if cost is None:
            self._unknown.labels(*target).inc()
        else:
            self._usd.labels(*target).inc(float(cost))
        if attempt.money.counterfactual is not None:
            self._counterfactual.labels(*target).inc(float(attempt.money.counterfactual))
        if attempt.watt_hours is not None:
            self._watt_hours.labels(*target).inc(attempt.watt_hours)
        if attempt.durations.total is not None:
            self._seconds.labels(*target).observe(attempt.durations.total)
        if attempt.durations.first_token is not None:
            self._first.labels(*target).observe(attempt.durations.first_token)


class _Live(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._gauges():
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=tuple(labels)))
            family.add_metric(tuple(labels.values()), value)
        return families.values()
