"""What else one could do with the same load: let the rest overflow to the cloud, and what an accepted request costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakeven.economics.curve import LocalCurve, OverflowCurve
from breakeven.economics.hybrid import Outcomes
from breakeven.planning.clouds import PricedModel
from breakeven.planning.scenario import Scenario
from breakeven.units import TOKENS_PER_MILLION, Tokens, Usd


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Monthly and per-request costs of the ways to serve the load.

    Attributes:
        overflow_boxes / overflow_usd_monthly: the boxes one has, filled to their capacity, the rest in the cloud.
        all_local_boxes / all_local_usd_monthly: as many boxes as the load needs; ``None`` when no number helps.
        accepted_local_usd / accepted_cloud_usd: cost of a request whose answer is accepted in the end, either way,
            escalation and rework included.
    """

    overflow_boxes: int
    overflow_usd_monthly: Usd
    all_local_boxes: int | None
    all_local_usd_monthly: Usd | None
    accepted_local_usd: Usd | None
    accepted_cloud_usd: Usd


def alternatives(
    scenario: Scenario,
    local: LocalCurve,
    frontier: PricedModel,
    volume: Tokens,
    requests: Decimal,
    boxes_needed: int | None,
) -> Alternatives | None:
    """Compute them at one volume, in so many requests a month; ``None`` without a price.

    ``local`` carries escalation and rework already.
    """
    cloud, per_request = frontier.option.curve, frontier.usd_per_request
    if cloud is None or per_request is None:
        return None
    escalation = scenario.escalation
    count = scenario.box.count
    overflow = OverflowCurve(local, cloud, boxes=count).usd_monthly(volume)
    all_local = accepted = None
    if boxes_needed is not None:
        all_local = boxes_needed * local.box_usd_monthly + volume * local.usd_per_million / TOKENS_PER_MILLION
        accepted = Outcomes(accepted_share=escalation.accepted_share).usd_per_accepted(all_local / requests)
    accepted_cloud = Outcomes(accepted_share=escalation.cloud_accepted_share).usd_per_accepted(per_request)
    return Alternatives(count, overflow, boxes_needed, all_local, accepted, accepted_cloud)
