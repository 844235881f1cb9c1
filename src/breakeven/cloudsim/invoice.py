"""The simulated cloud's invoice: every request it bills, by key and model, exact to the last fraction of a cent.

A rate in dollars per million tokens is the same number in micro-dollars per token, which is what is added up here.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from breakeven.cloudsim.prompt_cache import PromptUsage

MOST_LINES = 200_000


@dataclass(frozen=True, slots=True)
class PriceList:
    """What a model costs, in US dollars per million tokens, cache classes spelled out.

    Attributes:
        beyond: ``(threshold, prices)``: a request with more prompt tokens than that pays those for everything.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    beyond: tuple[int, PriceList] | None = None

    @classmethod
    def simple(cls, input_usd: str, output_usd: str) -> PriceList:
        """The common shape: a read for a tenth of the input, writes for 1.25 and 2 times."""
        base = Decimal(input_usd)
        return cls(base, Decimal(output_usd), base / 10, base * 5 / 4, base * 2)

    def micro_usd(self, prompt: PromptUsage, output: int) -> Decimal:
        """The charge for one request in micro-dollars."""
        if self.beyond is not None and prompt.total > self.beyond[0]:
            return self.beyond[1].micro_usd(prompt, output)
        return (
            prompt.uncached * self.input
            + prompt.cache_read * self.cache_read
            + prompt.cache_write_5m * self.cache_write_5m
            + prompt.cache_write_1h * self.cache_write_1h
            + output * self.output
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One billed request.

    Attributes:
        complete: whether its whole answer was handed to the connection.
        user: the end user the caller named.
    """

    request_id: str
    at: float
    key: str
    provider: str
    model: str
    endpoint: str
    user: str | None
    uncached_input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    micro_usd: Decimal
    complete: bool


@dataclass(slots=True)
class Total:
    """What a key owes for a model."""

    requests: int = 0
    incomplete: int = 0
    uncached_input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    micro_usd: Decimal = field(default_factory=Decimal)

    def add(self, line: Line) -> None:
        """Take in one line."""
        self.requests += 1
        self.incomplete += not line.complete
        for name in ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
            setattr(self, name, getattr(self, name) + getattr(line, name))
        self.micro_usd += line.micro_usd


class Invoice:
    """Adds up lines. The totals hold all of them, the list the newest 200,000."""

    def __init__(self, prices: Mapping[str, PriceList]) -> None:
        self.prices = prices
        self.lines: deque[Line] = deque(maxlen=MOST_LINES)
        self.totals: dict[tuple[str, str, str], Total] = {}

    def add(self, line: Line) -> None:
        """Bill one request."""
        self.lines.append(line)
        self.totals.setdefault((line.provider, line.key, line.model), Total()).add(line)

    def clear(self) -> None:
        """Forget everything billed."""
        self.lines.clear()
        self.totals.clear()

    def document(self) -> dict[str, Any]:
        """The invoice as plain values, money as exact decimal text."""
        totals = [
            {"provider": provider, "key": key, "model": model, **_plain(asdict(total))}
            for (provider, key, model), total in sorted(self.totals.items())
        ]
        charged = sum((total.micro_usd for total in self.totals.values()), Decimal())
        return {"micro_usd": format(charged, "f"), "totals": totals, "lines": [_plain(asdict(x)) for x in self.lines]}


def key_name(secret: str) -> str:
    """How a key appears on the invoice and in the counters: never by its text."""
    return f"key-{hashlib.sha256(secret.encode()).hexdigest()[:10]}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: format(value, "f") if isinstance(value, Decimal) else value for name, value in values.items()}
