"""When agents wake. The clock is a number that each test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.agents.schedule import GRACE_SECONDS, MOST_TICKS, Due, Missed, Schedule, due, offsets, on_overlap

FIVE_MINUTES = Schedule("*/5 * * * *")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0


def local(instants: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(instant, ZoneInfo(zone)).strftime("%d %H:%M %z") for instant in instants]


def test_a_tick_is_found_once() -> None:
    found = due(FIVE_MINUTES, NOON - 1, NOON + 0.2, missed="latest")
    assert found == Due((NOON,), 0, NOON)
    assert due(FIVE_MINUTES, found.seen, NOON + 0.4, missed="latest") == Due((), 0, NOON)


@pytest.mark.parametrize(
    ("missed", "started"),
    [("latest", [NOON + 3 * HOUR]), ("none", []), ("all", [NOON + 300 * n for n in range(1, 37)])],
)
def test_a_laptop_asleep_for_three_hours(missed: Missed, started: list[float]) -> None:
    woken = NOON + 3 * HOUR + GRACE_SECONDS + 1
    found = due(FIVE_MINUTES, NOON, woken, missed=missed)
    assert list(found.start) == started
    assert found.missed == 36 - len(started)
    assert due(FIVE_MINUTES, found.seen, woken + 1, missed=missed).start == ()


def test_a_tick_just_passed_was_not_missed() -> None:
    found = due(FIVE_MINUTES, NOON, NOON + 3 * HOUR + GRACE_SECONDS / 2, missed="none")
    assert found.start == (NOON + 3 * HOUR,)


def test_making_up_for_all_has_an_end() -> None:
    found = due(Schedule("1m"), NOON, NOON + 30 * 24 * HOUR, missed="all")
    assert len(found.start) == MOST_TICKS
    assert found.start[-1] == NOON + 30 * 24 * HOUR
    assert found.missed == 30 * 24 * 60 - MOST_TICKS


def test_a_clock_that_ran_ahead_and_was_set_back_does_not_silence_an_agent() -> None:
    ahead = due(FIVE_MINUTES, NOON, NOON + 365 * 24 * HOUR, missed="latest")
    back = due(FIVE_MINUTES, ahead.seen, NOON + 60, missed="latest")
    assert back.start == ()
    assert due(FIVE_MINUTES, back.seen, NOON + 301, missed="latest").start == (NOON + 300,)


def test_a_clock_set_back_a_little_starts_nothing_again() -> None:
    found = due(FIVE_MINUTES, NOON, NOON - 20, missed="all")
    assert found.start == ()
    assert due(FIVE_MINUTES, found.seen, NOON + 1, missed="all").start == ()


def test_daylight_saving_begins() -> None:
    """On 2026-03-29 the hour from 2 to 3 does not exist in Zurich: the daily run happens at 3."""
    daily = Schedule("30 2 * * *", "Europe/Zurich")
    begin = datetime(2026, 3, 28, 0, tzinfo=UTC).timestamp()
    assert local(list(islice(daily.after(begin), 3)), "Europe/Zurich") == [
        "28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200",
    ]  # fmt: skip


def test_daylight_saving_ends() -> None:
    """On 2026-10-25 the hour from 2 to 3 comes twice: a daily run happens once, one every half hour goes on."""
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
    assert local(list(islice(Schedule("30 2 * * *", "Europe/Zurich").after(begin), 2)), "Europe/Zurich") == [
        "25 02:30 +0200", "26 02:30 +0100",
    ]  # fmt: skip
    every = list(islice(Schedule("*/30 * * * *", "Europe/Zurich").after(begin), 200))
    assert {later - earlier for earlier, later in pairwise(every)} == {1800.0}


def test_intervals_count_from_the_epoch() -> None:
    assert list(islice(Schedule("90s").after(0.0), 3)) == [90.0, 180.0, 270.0]
    assert Schedule("1.5h").interval == 5400.0


def test_a_fleet_is_staggered_over_its_cadence() -> None:
    fleet = {f"agent-{number:02}": Schedule("*/5 * * * *") for number in range(31)} | {"hourly": Schedule("1h")}
    found = offsets(fleet, NOON)
    assert found["hourly"] == 0.0
    spread = sorted(value for name, value in found.items() if name != "hourly")
    gaps = {round(later - earlier, 6) for earlier, later in pairwise(spread)}
    assert gaps == {round(300 / 31, 6)}


def test_a_staggered_agent_starts_after_its_tick() -> None:
    assert due(FIVE_MINUTES, NOON - 1, NOON + 99, missed="latest", offset=100).start == ()
    assert due(FIVE_MINUTES, NOON - 1, NOON + 100, missed="latest", offset=100).start == (NOON,)


@pytest.mark.parametrize(
    ("policy", "active", "waiting", "verdict"),
    [
        ("skip", 0, 0, "start"), ("skip", 1, 0, "skip"),
        ("queue", 1, 0, "wait"), ("queue", 1, 1, "skip"),
        ("cancel", 1, 0, "cancel_and_start"), ("cancel", 0, 0, "start"),
    ],
)  # fmt: skip
def test_overlap(policy: str, active: int, waiting: int, verdict: str) -> None:
    assert on_overlap(policy, active=active, waiting=waiting) == verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(("every", "zone"), [("whenever", "UTC"), ("* * *", "UTC"), ("0s", "UTC"), ("5m", "Mars/Base")])
def test_what_is_no_cadence_is_refused(every: str, zone: str) -> None:
    with pytest.raises(ValueError, match=r"cron|interval|time zone"):
        Schedule(every, zone)


@given(
    looks=st.lists(st.floats(min_value=0.01, max_value=4000), min_size=1, max_size=40),
    every=st.sampled_from(["*/5 * * * *", "7m", "0 * * * *"]),
)
def test_however_often_one_looks_each_tick_starts_once(looks: list[float], every: str) -> None:
    cadence, seen, now = Schedule(every), NOON, NOON
    started: list[float] = []
    for pause in looks:
        now += pause
        found = due(cadence, seen, now, missed="all")
        started += found.start
        seen = found.seen
    expected: list[float] = []
    for tick in cadence.after(NOON):
        if tick > now:
            break
        expected.append(tick)
    assert started == expected
