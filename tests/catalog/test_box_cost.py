"""What ``[box]`` says about the machine becomes its cost, or nothing."""

from decimal import Decimal
from typing import Any

import pytest

from breakeven.catalog.machines import box_cost
from breakeven.catalog.tariffs import default_tariff
from breakeven.config import BoxSettings
from breakeven.economics.horizon import monthly_rate

GIVEN: dict[str, Any] = {"purchase_usd": Decimal(6000), "idle_watts": Decimal(10), "load_watts": Decimal(145)}


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_a_machine_known_in_part_has_an_unknown_cost(missing: str) -> None:
    assert box_cost(BoxSettings(**{name: value for name, value in GIVEN.items() if name != missing})) is None


def test_a_known_machine_costs_what_its_settings_say() -> None:
    box = box_cost(BoxSettings(**GIVEN, care_hours_monthly=Decimal(2), wage_usd_hourly=Decimal(50)))
    assert box is not None
    assert (box.usd_per_kwh, box.care_usd_monthly) == (default_tariff().usd_per_kwh.value, Decimal(100))
    assert round(box.fixed_usd_monthly, 2) == Decimal("267.91")


def test_twelve_months_at_the_monthly_rate_make_the_yearly_one() -> None:
    assert abs((1 + monthly_rate(Decimal("0.05"))) ** 12 - Decimal("1.05")) < Decimal("1e-20")
    assert monthly_rate(Decimal(0)) == 0
