"""Whether reports of sums tell of the same usage twice. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from breakeven.ledger.records import UsageBucket
from breakeven.ledger.schema import utc


class Span(NamedTuple):
    """The time that a bucket of an origin tells of, and whether it names the model."""

    origin: str
    start: float
    end: float
    named: bool

    @classmethod
    def of(cls, bucket: UsageBucket) -> Span:
        """The span of a bucket."""
        return cls(bucket.origin, bucket.start, bucket.end, bucket.model != "")


def overlap(spans: Iterable[Span]) -> str | None:
    """What is wrong with the first two spans that tell of the same time in other terms: in hours and in days, or by
    model and for all models together. Spans with one start are reports of one bucket, of which the later ends later.
    """
    for before, after in pairwise(sorted(spans)):
        if before.origin != after.origin:
            continue
        if before.start != after.start and before.end > after.start:
            return (
                f"{_words(after)} of {after.origin} overlaps {_words(before)}, which is reported already;"
                f" to report this time otherwise, first remove it with --forget {after.origin}"
            )
        if before.start == after.start and before.named != after.named and not _money_alone(after.origin):
            return (
                f"{_words(after)} of {after.origin} is reported both by model and for all models together;"
                f" to report this time otherwise, first remove it with --forget {after.origin}"
            )
    return None


def _words(span: Span) -> str:
    return f"{utc(span.start):%Y-%m-%d %H:%M} to {utc(span.end):%Y-%m-%d %H:%M}"


def _money_alone(origin: str) -> bool:
    """Whether its rows are items of a bill, some of which are for no model."""
    return origin.endswith("-cost")
