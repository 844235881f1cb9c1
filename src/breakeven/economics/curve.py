"""Monthly cost against volume: boxes in steps, the cloud in a straight line, and where one lies below the other.

Local cost is n(M)·F + v·M with n(M) = max(1, ⌈M / capacity⌉): it climbs slowly, jumps at every full box and so makes a
sawtooth against the cloud's c·M. The answer to "when does local win?" is therefore a set of intervals, not one root.
All arithmetic here is exact: volumes are whole tokens, and comparisons run on rationals made from the given decimals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from breakeven.economics.domain import require_not_negative
from breakeven.errors import ScenarioError
from breakeven.units import TOKENS_PER_MILLION, Tokens, Usd


@dataclass(frozen=True, slots=True)
class CloudCurve:
    """The cloud's cost: linear in volume for a fixed mix of requests."""

    usd_per_million: Usd

    def __post_init__(self) -> None:
        require_not_negative("cloud.usd_per_million", self.usd_per_million)

    def usd_monthly(self, tokens_monthly: Tokens) -> Usd:
        """c·M."""
        return tokens_monthly * self.usd_per_million / TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class LocalCurve:
    """The cost of as many boxes as the volume needs.

    Attributes:
        box_usd_monthly: F, what one box costs a month before it serves a token: amortisation, idle power, care.
        usd_per_million: v, what a million tokens add: marginal energy, and in a hybrid the escalated share.
        capacity_tokens: tokens a month one box serves at the utilisation one is willing to plan with.
        max_boxes: boxes at most; volumes beyond them are infeasible. ``None`` for as many as it takes.
    """

    box_usd_monthly: Usd
    usd_per_million: Usd
    capacity_tokens: Tokens
    max_boxes: int | None = None

    def __post_init__(self) -> None:
        require_not_negative("box_usd_monthly", self.box_usd_monthly)
        require_not_negative("local.usd_per_million", self.usd_per_million)
        if self.capacity_tokens < 1:
            raise ScenarioError("capacity_tokens", self.capacity_tokens, "at least 1 token a month")
        if self.max_boxes is not None and self.max_boxes < 1:
            raise ScenarioError("max_boxes", self.max_boxes, "at least 1 box")

    def boxes(self, tokens_monthly: Tokens) -> int:
        """n(M); one box stands there even when nobody calls."""
        return max(1, -(-tokens_monthly // self.capacity_tokens))

    def usd_monthly(self, tokens_monthly: Tokens) -> Usd | None:
        """n(M)·F + v·M; ``None`` where ``max_boxes`` cannot serve the volume."""
        boxes = self.boxes(tokens_monthly)
        if self.max_boxes is not None and boxes > self.max_boxes:
            return None
        return boxes * self.box_usd_monthly + tokens_monthly * self.usd_per_million / TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class OverflowCurve:
    """The alternative to one more box: ``boxes`` serve up to their capacity, the rest goes to the cloud."""

    local: LocalCurve
    cloud: CloudCurve
    boxes: int = 1

    def __post_init__(self) -> None:
        if self.boxes < 1:
            raise ScenarioError("boxes", self.boxes, "at least 1 box")

    @property
    def capacity_tokens(self) -> Tokens:
        """Tokens a month the boxes serve themselves."""
        return self.boxes * self.local.capacity_tokens

    def usd_monthly(self, tokens_monthly: Tokens) -> Usd:
        """n·F + v·min(M, n·capacity) + c·max(0, M − n·capacity)."""
        kept = min(tokens_monthly, self.capacity_tokens)
        local_usd = self.boxes * self.local.box_usd_monthly + kept * self.local.usd_per_million / TOKENS_PER_MILLION
        return local_usd + self.cloud.usd_monthly(tokens_monthly - kept)


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole tokens a month from ``first`` to ``last``, both included; ``last`` is ``None`` when there is no end."""

    first: Tokens
    last: Tokens | None

    def __contains__(self, tokens_monthly: Tokens) -> bool:
        return self.first <= tokens_monthly and (self.last is None or tokens_monthly <= self.last)


@dataclass(frozen=True, slots=True)
class WinningIntervals:
    """Volumes at which local costs strictly less than the cloud, in rising order, none touching the next.

    Attributes:
        intervals: empty when the cloud always wins; the last one may be unbounded.
        unlisted: how many bounded intervals lie between the last bounded one listed and the tail, left out because
            there are too many to read.
    """

    intervals: tuple[Interval, ...] = ()
    unlisted: int = 0

    def __contains__(self, tokens_monthly: Tokens) -> bool:
        if self.unlisted:
            raise LookupError(f"{self.unlisted} intervals are not listed")
        return any(tokens_monthly in interval for interval in self.intervals)

    def __bool__(self) -> bool:
        return bool(self.intervals)


def crossing_tokens(local: LocalCurve, cloud: CloudCurve, boxes: int = 1) -> Decimal | None:
    """M = n·F / (c − v): where n boxes would cost what the cloud does, whether or not they can serve so much.

    ``None`` when a token costs at least as much in electricity as in the cloud: then no volume helps.
    """
    saved = cloud.usd_per_million - local.usd_per_million
    return boxes * local.box_usd_monthly / saved * TOKENS_PER_MILLION if saved > 0 else None


def winning_intervals(local: LocalCurve, cloud: CloudCurve, *, listed_at_most: int = 1000) -> WinningIntervals:
    """All volumes where local(M) < cloud(M).

    On the segment of n boxes, ((n − 1)·cap, n·cap], local wins above n·m with m = F / (c − v). So:

    1. c ≤ v: never.
    2. m ≥ cap: never; each box is full before it has paid for itself.
    3. m < cap: every segment ends in a win, from ⌊n·m⌋ + 1 to n·cap. Its lower end falls behind the end of the
       segment before it as n grows, so the wins run together from the first n > (cap − 1) / (cap − m) on: the tail.
    """
    saved = Fraction(cloud.usd_per_million) - Fraction(local.usd_per_million)
    if saved <= 0:
        return WinningIntervals()
    capacity, limit = local.capacity_tokens, local.max_boxes
    per_box = Fraction(local.box_usd_monthly) / saved * 1_000_000
    if per_box >= capacity:
        return WinningIntervals()

    joined = max(2, math.floor((capacity - 1) / (capacity - per_box)) + 1)
    tail_start = joined - 1
    separate = tail_start - 1 if limit is None else min(tail_start - 1, limit)
    listed = min(separate, listed_at_most)
    intervals = [_segment_win(n, per_box, capacity) for n in range(1, listed + 1)]
    if limit is None or limit >= tail_start:
        first = _segment_win(tail_start, per_box, capacity).first
        intervals.append(Interval(first, None if limit is None else limit * capacity))
    return WinningIntervals(tuple(intervals), separate - listed)


def _segment_win(boxes: int, per_box: Fraction, capacity: int) -> Interval:
    """Where n boxes win on the segment that needs n of them."""
    return Interval(max(math.floor(boxes * per_box), (boxes - 1) * capacity) + 1, boxes * capacity)


def overflow_winning_intervals(curve: OverflowCurve) -> WinningIntervals:
    """Where boxes with overflow cost less than the cloud alone: from n·F / (c − v) on without end, or nowhere.

    Beyond capacity both sides pay the cloud's price for the next token, so a lead once won stays.
    """
    saved = Fraction(curve.cloud.usd_per_million) - Fraction(curve.local.usd_per_million)
    if saved <= 0:
        return WinningIntervals()
    first = math.floor(curve.boxes * Fraction(curve.local.box_usd_monthly) / saved * 1_000_000) + 1
    return WinningIntervals((Interval(first, None),)) if first <= curve.capacity_tokens else WinningIntervals()


def sawtooth(local: LocalCurve, up_to_tokens: Tokens) -> tuple[tuple[Tokens, Usd], ...]:
    """Corner points (M, $) of the local curve from 0 to ``up_to_tokens``: both ends of every step."""
    last_box = local.boxes(up_to_tokens)
    if local.max_boxes is not None:
        last_box = min(last_box, local.max_boxes)
    corners: list[tuple[Tokens, Usd]] = []
    for boxes in range(1, last_box + 1):
        start = 0 if boxes == 1 else (boxes - 1) * local.capacity_tokens + 1
        for volume in (start, min(boxes * local.capacity_tokens, up_to_tokens)):
            usd = local.usd_monthly(volume)
            if usd is not None:
                corners.append((volume, usd))
    return tuple(corners)
