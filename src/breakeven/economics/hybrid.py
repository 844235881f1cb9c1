"""Local first with a share escalated: both attempts are paid, and what counts is the cost of an accepted task."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakeven.economics.curve import LocalCurve
from breakeven.economics.domain import require_not_negative, require_share
from breakeven.errors import ScenarioError
from breakeven.units import Usd


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What becomes of the answers of one way of serving tasks.

    Attributes:
        accepted_share: share of tasks whose answer is accepted in the end, reworked ones included.
        rework_share: share of tasks that somebody has to repair.
        rework_usd: what one repair costs.
    """

    accepted_share: Decimal = Decimal(1)
    rework_share: Decimal = Decimal(0)
    rework_usd: Usd = Decimal(0)

    def __post_init__(self) -> None:
        require_share("accepted_share", self.accepted_share)
        if not self.accepted_share:
            raise ScenarioError("accepted_share", "0", "a share greater than 0: nothing accepted has no cost per task")
        require_share("rework_share", self.rework_share)
        require_not_negative("rework_usd", self.rework_usd)

    def usd_per_accepted(self, usd_per_task: Usd) -> Usd:
        """(attempts + rework) / accepted share."""
        return (usd_per_task + self.rework_share * self.rework_usd) / self.accepted_share


@dataclass(frozen=True, slots=True)
class Escalation:
    """Costs of a task that is tried locally and, in a share of cases, again in the cloud.

    Attributes:
        local_usd: one local attempt, which every task pays.
        cloud_usd: one cloud attempt at an *escalated* task; these tend to be the longer ones.
        share: f, share of tasks escalated.
    """

    local_usd: Usd
    cloud_usd: Usd
    share: Decimal

    def __post_init__(self) -> None:
        require_not_negative("local_usd", self.local_usd)
        require_not_negative("cloud_usd", self.cloud_usd)
        require_share("escalated_share", self.share)

    @property
    def usd_per_task(self) -> Usd:
        """local + f·cloud: an escalated task costs twice.

        >>> Escalation(Decimal("0.002"), Decimal("0.01"), Decimal("0.2")).usd_per_task
        Decimal('0.004')
        """
        return self.local_usd + self.share * self.cloud_usd


def affordable_escalation(local_usd: Usd, cloud_usd: Usd) -> Decimal | None:
    """The share f* = 1 − local/cloud up to which trying locally first costs no more than the cloud alone.

    ``None`` when a local attempt alone costs more than a cloud one.

    >>> affordable_escalation(Decimal("0.002"), Decimal("0.01"))
    Decimal('0.8')
    """
    require_not_negative("local_usd", local_usd)
    require_not_negative("cloud_usd", cloud_usd)
    if not cloud_usd or local_usd > cloud_usd:
        return None
    return 1 - local_usd / cloud_usd


def with_escalation(
    local: LocalCurve, *, share: Decimal, cloud_usd_per_million: Usd, rework_usd_per_million: Usd = Decimal(0)
) -> LocalCurve:
    """The local curve with a share of its volume paid in the cloud as well, and rework on top.

    Capacity stays what it was: every task has its local attempt.
    """
    require_share("escalated_share", share)
    require_not_negative("cloud_usd_per_million", cloud_usd_per_million)
    require_not_negative("rework_usd_per_million", rework_usd_per_million)
    added = share * cloud_usd_per_million + rework_usd_per_million
    return LocalCurve(
        local.box_usd_monthly, local.usd_per_million + added, local.capacity_tokens, max_boxes=local.max_boxes
    )
