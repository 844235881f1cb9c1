"""An escalated task costs twice, and both sides are compared per accepted task."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.economics.curve import CloudCurve, Interval, LocalCurve, winning_intervals
from breakeven.economics.hybrid import Escalation, Outcomes, affordable_escalation, with_escalation
from breakeven.errors import ScenarioError


def test_a_fifth_escalated_pays_a_fifth_of_the_cloud_on_top_of_every_local_attempt():
    assert Escalation(Decimal("0.002"), Decimal("0.01"), Decimal("0.2")).usd_per_task == Decimal("0.004")


def test_cheap_answers_nobody_accepts_are_dear():
    cheap = Outcomes(accepted_share=Decimal("0.5"), rework_share=Decimal("0.2"), rework_usd=Decimal("0.05"))

    assert cheap.usd_per_accepted(Decimal("0.002")) == Decimal("0.024")
    assert Outcomes().usd_per_accepted(Decimal("0.01")) == Decimal("0.01")


def test_nothing_accepted_has_no_cost_per_task():
    with pytest.raises(ScenarioError, match="accepted_share"):
        Outcomes(accepted_share=Decimal(0))


def test_escalation_moves_the_breakeven_up_and_leaves_capacity_alone():
    box = LocalCurve(Decimal(168), Decimal("0.10"), 80_000_000, max_boxes=1)
    hybrid = with_escalation(box, share=Decimal("0.2"), cloud_usd_per_million=Decimal("2.9"))

    assert winning_intervals(box, CloudCurve(Decimal("2.9"))).intervals == (Interval(60_000_001, 80_000_000),)
    assert winning_intervals(hybrid, CloudCurve(Decimal("2.9"))).intervals == (Interval(75_675_676, 80_000_000),)


def test_no_share_is_affordable_when_the_local_attempt_costs_more_than_the_cloud():
    assert affordable_escalation(Decimal("0.02"), Decimal("0.01")) is None


@given(st.decimals("0.0001", 1, places=4), st.decimals("0.0001", 1, places=4), st.decimals(0, 1, places=2))
def test_trying_locally_first_pays_exactly_up_to_the_affordable_share(local, cloud, share):
    affordable = affordable_escalation(local, cloud)
    cheaper = Escalation(local, cloud, share).usd_per_task < cloud

    assert cheaper == (affordable is not None and share < affordable)
