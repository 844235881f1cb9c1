"""What is to be served, as it was counted: single requests, and usage that is known as sums only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from breakeven.economics.bulk import TokenColumns
from breakeven.economics.queueing import FloatArray
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import UsageBucket
from breakeven.ledger.usage import UsagePart
from breakeven.planning.trace import LONGEST_OUTPUT, LONGEST_PROMPT, Trace
from breakeven.units import SECONDS_PER_MONTH, Seconds, Tokens

SHORTEST_SECONDS = 7 * 86_400.0
"""A week: less does not show how days differ."""
FEWEST_REQUESTS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Requests with their arrivals, and buckets beside them.

    Attributes:
        trace: the requests; it may be empty where there are only buckets.
        buckets: sums without single requests: they cost a range, take a box's time, and say nothing of waits.
        tokens_of_untold_request: taken for the size of a request where a bucket does not tell how many it had.
    """

    trace: Trace
    buckets: tuple[UsageBucket, ...] = ()
    tokens_of_untold_request: Tokens = 2150

    @property
    def requests(self) -> int:
        """Requests, those of buckets included; at least one."""
        return max(1, len(self.trace) + sum(self._requests_of(bucket) for bucket in self.buckets))

    def _requests_of(self, bucket: UsageBucket) -> int:
        if bucket.requests:
            return bucket.requests
        tokens = 0 if bucket.tokens is None else bucket.tokens.total
        return -(-tokens // self.tokens_of_untold_request)

    @property
    def untold_requests(self) -> int:
        """How many buckets do not tell their requests."""
        return sum(not bucket.requests for bucket in self.buckets)

    @property
    def summed(self) -> TokenCounts:
        """The tokens of all buckets: for volume and work, never for a price."""
        counted = [bucket.tokens for bucket in self.buckets if bucket.tokens is not None]
        return sum(counted[1:], counted[0]) if counted else TokenCounts()

    @property
    def tokens(self) -> Tokens:
        """All tokens, prompts and outputs."""
        return self.trace.tokens.tokens + self.summed.total

    @property
    def seconds(self) -> Seconds:
        """How long was observed; at least a second."""
        return max(self.trace.span_seconds, 1.0)

    @property
    def months(self) -> Decimal:
        """The same in months of 730 hours."""
        return Decimal(repr(self.seconds)) / SECONDS_PER_MONTH

    @property
    def tokens_monthly(self) -> Tokens:
        """What a month of it would be."""
        return round(self.tokens / self.months)

    @property
    def thin(self) -> str | None:
        """Why it is too little to decide by; ``None`` when it is not."""
        days = self.seconds / 86_400
        if self.requests < FEWEST_REQUESTS and not self.untold_requests:
            return f"{self.requests:,} requests are too few to go by, {FEWEST_REQUESTS} at least"
        if self.seconds < SHORTEST_SECONDS:
            return f"{days:.1f} days do not show how one differs from another, a week at least"
        return None


def volume_of(
    name: str,
    parts: Iterable[UsagePart],
    buckets: Iterable[UsageBucket],
    *,
    observed: tuple[float, float] | None = None,
) -> Volume | None:
    """The calls of a ledger, each by the answer that the client got; ``None`` when there is nothing.

    Args:
        name: where they were counted.
        parts: what the calls used.
        buckets: usage that is known as sums only; sums of money alone are left out.
        observed: Unix seconds between which everything was recorded; by default from the first call to the last.
    """
    at: list[FloatArray] = []
    tokens: list[TokenColumns] = []
    uncounted = 0
    for part in parts:
        prompts, outputs = part.tokens.prompt, part.tokens.output
        possible = part.counted & (prompts <= LONGEST_PROMPT) & (outputs <= LONGEST_OUTPUT)
        chosen = part.kept & possible & (prompts + outputs > 0)
        uncounted += int((part.kept & ~possible).sum())
        at.append(part.at[chosen])
        tokens.append(part.tokens.where(chosen))
    sums = tuple(bucket for bucket in buckets if bucket.tokens is not None and bucket.tokens.total)
    columns, times = TokenColumns.joined(tokens), np.concatenate(at) if at else np.empty(0)
    if not len(times) and not sums:
        return None
    order = np.argsort(times, kind="stable")
    times = times[order]
    begins = [*times[:1].tolist(), *(bucket.start for bucket in sums)]
    ends = [*times[-1:].tolist(), *(bucket.end for bucket in sums)]
    start, end = min(begins), max(ends)
    if observed is not None:
        start, end = min(start, observed[0]), max(end, observed[1])
    trace = Trace(
        name=name,
        format="usage",
        at=times - start,
        tokens=columns.where(order),
        seconds=end - start,
        uncounted=uncounted,
    )
    return Volume(trace, sums)
