"""How long a call would take if it were sent now."""

from __future__ import annotations

from typing import Any, cast

import pytest

from breakeven.box.occupancy import Occupancy
from breakeven.providers.http import HttpProvider
from breakeven.routing.forecast import RecentForecast
from breakeven.routing.table import Route


def route(locality: Any) -> Route:
    class Timeouts:
        connect_seconds = first_byte_seconds = stall_seconds = 1.0

    return Route("m", HttpProvider("p", base_url=str, locality=locality, timeouts=Timeouts()), "m", "asked for by name")


BOX, CLOUD = route("local"), route("remote")


def still() -> float:
    return 0.0


def test_nobody_can_tell_before_the_first_call() -> None:
    assert RecentForecast(Occupancy(still)).seconds(BOX, 100, 10) is None


def test_the_latest_calls_tell_in_proportion_to_the_work() -> None:
    forecast = RecentForecast(Occupancy(still))
    forecast.observe(BOX, 1000, 100, 20.0)

    assert forecast.seconds(BOX, 1000, 100) == pytest.approx(20)
    assert forecast.seconds(BOX, 500, 50) == pytest.approx(10)


def test_a_target_that_slows_down_is_noticed() -> None:
    forecast = RecentForecast(Occupancy(still))
    for seconds in [1.0] * 5 + [3.0] * 20:
        forecast.observe(CLOUD, 0, 100, seconds)

    assert forecast.seconds(CLOUD, 0, 100) == pytest.approx(3, abs=0.05)


def test_calls_on_the_box_share_it_and_calls_to_a_cloud_do_not() -> None:
    occupancy = Occupancy(still)
    forecast = RecentForecast(occupancy)
    forecast.observe(BOX, 0, 100, 2.0)
    alone = forecast.seconds(BOX, 0, 100)
    occupancy.enter()
    occupancy.enter()

    assert alone == pytest.approx(2)
    assert forecast.seconds(BOX, 0, 100) == pytest.approx(6)
    assert forecast.seconds(route("remote"), 0, 100) == pytest.approx(2)


def test_a_measured_speed_comes_before_the_latest_calls() -> None:
    class Measured:
        basis = source = None

        def seconds(self, uncached: float, output: float, context: float, parallel: int = 1) -> float:
            assert context == uncached  # the whole prompt
            return 5.0 * parallel

    slower = {("p", "m"): 1.0}
    forecast = RecentForecast(Occupancy(still), lambda _target: cast("Any", Measured()), slower.__getitem__)
    forecast.observe(BOX, 0, 100, 2.0)

    assert forecast.seconds(BOX, 100, 100) == 5
    slower["p", "m"] = 1.8  # as it is now, not as it was measured
    assert forecast.seconds(BOX, 100, 100) == 9


def test_a_call_without_work_teaches_nothing() -> None:
    forecast = RecentForecast(Occupancy(still))
    forecast.observe(BOX, 0, 0, 1.0)
    assert forecast.seconds(BOX, 10, 10) is None
