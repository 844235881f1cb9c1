"""The answer in one word and one sentence, made from the figures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from breakeven.economics.assumptions import Assumption
from breakeven.economics.curve import (
    CloudCurve,
    Interval,
    LocalCurve,
    WinningIntervals,
    crossing_tokens,
    winning_intervals,
)
from breakeven.economics.domain import require_share
from breakeven.errors import ScenarioError
from breakeven.units import Tokens, Usd, tokens, usd

TOSS_UP = (1 / 3, 2 / 3)
"""Between these probabilities that local wins, the draws do not decide."""


class VerdictKind(StrEnum):
    """What the figures say."""

    LOCAL_WINS = "local_wins"
    CLOUD_WINS = "cloud_wins"
    INFEASIBLE = "infeasible"
    HOSTED_SAME_MODEL_WINS = "hosted_same_model_wins"
    SMALL_FRONTIER_WINS = "small_frontier_wins"
    ALREADY_OWNED = "already_owned"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class CloudOption:
    """A model in the cloud and what the mix of requests costs with it; ``None`` when it cannot be priced."""

    name: str
    usd_per_million: Usd | None

    @property
    def curve(self) -> CloudCurve | None:
        """Its cost against volume."""
        return None if self.usd_per_million is None else CloudCurve(self.usd_per_million)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be decided.

    Attributes:
        tokens_monthly: M; ``None`` when nobody knows.
        local: the boxes' curve; ``None`` when their speed is unknown.
        purchase_usd: K of one box; 0 when it is owned already.
        frontier: the model used now, or that would be used.
        hosted_same_model: the local model at the cheapest acceptable host, if anybody hosts it.
        small_frontier: the small sibling of a frontier model, if one comes into question.
        boxes: how many one has or is ready to buy.
        boxes_needed: the most that capacity, waiting time and memory ask for; ``None`` to go by capacity alone.
        probability_local_wins: from drawing what is uncertain; ``None`` when nothing was drawn.
        quality_measured: whether the local model has been held against the frontier one on the user's own tasks.
        local_model: what the box runs, for reading.
        assumptions: what all these figures rest on.
    """

    tokens_monthly: Tokens | None
    local: LocalCurve | None
    purchase_usd: Usd
    frontier: CloudOption
    hosted_same_model: CloudOption | None = None
    small_frontier: CloudOption | None = None
    boxes: int = 1
    boxes_needed: int | None = None
    probability_local_wins: float | None = None
    quality_measured: bool = False
    local_model: str = "the local model"
    assumptions: tuple[Assumption, ...] = ()

    def __post_init__(self) -> None:
        if self.tokens_monthly is not None and self.tokens_monthly < 0:
            raise ScenarioError("tokens_monthly", self.tokens_monthly, "0 tokens or more")
        if self.boxes < 1:
            raise ScenarioError("boxes", self.boxes, "at least 1 box")
        if self.probability_local_wins is not None:
            require_share("probability_local_wins", self.probability_local_wins)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision.

    Attributes:
        kind: in one word.
        sentence: in one sentence, with the figures that decided.
        intervals: volumes at which local wins against the frontier; ``None`` when they cannot be computed.
        local_usd_monthly / frontier_usd_monthly: at the volume asked about, ``None`` where unknown or infeasible.
        caveats: what the sentence leaves out, each one sentence.
        assumptions: what it rests on.
    """

    kind: VerdictKind
    sentence: str
    intervals: WinningIntervals | None = None
    local_usd_monthly: Usd | None = None
    frontier_usd_monthly: Usd | None = None
    caveats: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()


# Rules, the first that holds decides:
#  1. The volume, the box's speed or the frontier's price is unknown            -> not enough evidence
#  2. More boxes are needed than one has or would buy                           -> infeasible on this box
#  3. The box costs nothing any more                                            -> already owned: marginal cost only
#  4. The draws come out close to even, or against what today's prices say      -> not enough evidence
#  5. At this volume local does not cost less than the frontier                 -> cloud wins
#  6. ... and it does, but the same model hosted by others costs less still     -> hosted same model wins
#  7. ... and it does, but a small frontier model costs less still              -> small frontier wins on price
#  8. Otherwise                                                                 -> local wins, from X to Y
def decide(question: Question) -> Verdict:
    """Apply the rules above to the figures."""
    volume, local, frontier = question.tokens_monthly, question.local, question.frontier.curve
    if volume is None or local is None or frontier is None:
        return _unknown(question)

    intervals = winning_intervals(local, frontier)
    needed = max(local.boxes(volume), question.boxes_needed or 1)
    cost = needed * local.box_usd_monthly + local.usd_per_million * volume / 1_000_000
    frontier_usd = frontier.usd_monthly(volume)
    infeasible = needed > question.boxes

    def verdict(kind: VerdictKind, sentence: str) -> Verdict:
        return Verdict(
            kind=kind,
            sentence=sentence,
            intervals=intervals,
            local_usd_monthly=None if infeasible else cost,
            frontier_usd_monthly=frontier_usd,
            caveats=_caveats(question),
            assumptions=question.assumptions,
        )

    if infeasible:
        return verdict(
            VerdictKind.INFEASIBLE,
            f"Infeasible: {tokens(volume)} tokens a month need {needed} boxes, not {question.boxes}; one serves"
            f" {tokens(local.capacity_tokens)}. {needed} boxes would cost {usd(cost)} a month,"
            f" {question.frontier.name} {usd(frontier_usd)}.",
        )
    if question.purchase_usd == 0:
        return verdict(VerdictKind.ALREADY_OWNED, _already_owned(question, local, frontier))
    probability = question.probability_local_wins
    cheaper_today = cost < frontier_usd
    if probability is not None and (probability < TOSS_UP[1] if cheaper_today else probability > TOSS_UP[0]):
        return verdict(
            VerdictKind.NOT_ENOUGH_EVIDENCE,
            f"Not enough evidence: at today's prices the box costs {usd(cost)} a month and {question.frontier.name}"
            f" {usd(frontier_usd)}, but over its term local wins in {probability:.0%} of the draws;"
            " narrow down what moves the result most.",
        )
    if not cheaper_today:
        return verdict(
            VerdictKind.CLOUD_WINS,
            f"The cloud wins: at {tokens(volume)} tokens a month the box costs {usd(cost)}, {question.frontier.name}"
            f" {usd(frontier_usd)}; {_when_local_wins(local, frontier, intervals)}.",
        )
    for option, kind in (
        (question.hosted_same_model, VerdictKind.HOSTED_SAME_MODEL_WINS),
        (question.small_frontier, VerdictKind.SMALL_FRONTIER_WINS),
    ):
        curve = None if option is None else option.curve
        if option is None or curve is None or cost < curve.usd_monthly(volume):
            continue
        against = _when_local_wins(local, curve, winning_intervals(local, curve))
        return verdict(kind, _undercut(question, option.name, kind, cost, usd(curve.usd_monthly(volume)), against))
    interval = next((interval for interval in intervals.intervals if volume in interval), None)
    reach = f"local wins {_range(interval)}" if interval else "local wins"
    return verdict(
        VerdictKind.LOCAL_WINS,
        f"{reach[0].upper()}{reach[1:]} against {question.frontier.name}: at {tokens(volume)} the box costs"
        f" {usd(cost)} a month, {question.frontier.name} {usd(frontier_usd)}.",
    )


def _unknown(question: Question) -> Verdict:
    missing = [
        name
        for name, value in (
            ("the monthly volume", question.tokens_monthly),
            ("the box's speed", question.local),
            (f"the price of {question.frontier.name}", question.frontier.usd_per_million),
        )
        if value is None
    ]
    return Verdict(
        VerdictKind.NOT_ENOUGH_EVIDENCE,
        f"Not enough evidence: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} unknown.",
        caveats=_caveats(question),
        assumptions=question.assumptions,
    )


def _already_owned(question: Question, local: LocalCurve, frontier: CloudCurve) -> str:
    priced = [
        (option.usd_per_million, option.name)
        for option in (question.frontier, question.hosted_same_model, question.small_frontier)
        if option is not None and option.usd_per_million is not None
    ]
    price, name = min(priced, default=(frontier.usd_per_million, question.frontier.name))
    comparison = "less than" if local.usd_per_million < price else "no less than"
    return (
        f"Already owned, so only marginal cost counts: a million tokens cost {usd(local.usd_per_million)} at home,"
        f" {comparison} the {usd(price)} of {name}, the cheapest alternative."
    )


def _undercut(question: Question, name: str, kind: VerdictKind, cost: Usd, price: str, against: str) -> str:
    if kind is VerdictKind.HOSTED_SAME_MODEL_WINS:
        return (
            f"Local wins only against {question.frontier.name}: the same model hosted as {name} costs {price} a month,"
            f" the box {usd(cost)}; {against}."
        )
    return (
        f"On price {name} wins: {price} a month against {usd(cost)} for the box; {against}."
        " What is left for local is data that stays, no rate limits and free iteration."
    )


def _when_local_wins(local: LocalCurve, cloud: CloudCurve, intervals: WinningIntervals) -> str:
    """When local would win against this cloud, or why it never does."""
    if intervals:
        first, *others = intervals.intervals
        more = f" and in {len(others) + intervals.unlisted} further ranges" if others else ""
        return f"local wins {_range(first)}{more}"
    crossing = crossing_tokens(local, cloud)
    if crossing is None:
        return (
            f"local never wins: electricity alone costs {usd(local.usd_per_million)} a million tokens,"
            f" that model {usd(cloud.usd_per_million)}"
        )
    return (
        f"local never wins: it would have to serve {tokens(int(crossing))} tokens a month and is full at"
        f" {tokens(local.capacity_tokens)}"
    )


def _range(interval: Interval) -> str:
    if interval.last is None:
        return f"from {tokens(interval.first)} tokens a month up"
    return f"from {tokens(interval.first)} to {tokens(interval.last)} tokens a month"


def _caveats(question: Question) -> tuple[str, ...]:
    caveats = []
    if not question.quality_measured:
        caveats.append(
            f"Whether {question.local_model} does your tasks as well as {question.frontier.name} has not been measured:"
            " the costs are compared as if it did."
        )
    if question.hosted_same_model is None:
        caveats.append("Nobody is named who hosts the same model, so it was not compared.")
    elif question.hosted_same_model.usd_per_million is None:
        caveats.append(f"{question.hosted_same_model.name} could not be priced and was not compared.")
    if question.small_frontier is not None and question.small_frontier.usd_per_million is None:
        caveats.append(f"{question.small_frontier.name} could not be priced and was not compared.")
    volume, local, needed = question.tokens_monthly, question.local, question.boxes_needed
    if volume is not None and local is not None and needed is not None and needed > local.boxes(volume):
        caveats.append(f"Waiting time or memory asks for {needed} boxes; the ranges of volume go by capacity alone.")
    return tuple(caveats)
