"""Shares of the box's time."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from breakeven.box.occupancy import Occupancy


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_call_alone_is_charged_all_its_time() -> None:
    clock = Clock()
    box = Occupancy(clock)
    clock.now = 10
    ticket = box.enter()
    clock.now = 13
    assert box.leave(ticket) == 3
    clock.now = 20
    assert (box.busy_seconds, box.running) == (3, 0)


def test_calls_at_once_share_each_second() -> None:
    clock = Clock()
    box = Occupancy(clock)
    first = box.enter()
    clock.now = 4
    second = box.enter()
    clock.now = 6
    assert box.running == 2
    assert box.leave(first) == 4 + 2 / 2
    clock.now = 9
    assert box.busy_seconds == 9
    assert box.leave(second) == 2 / 2 + 3


steps = st.lists(st.tuples(st.fractions(0, 100), st.integers(-1, 5)), max_size=60)


@given(steps)
def test_shares_add_up_to_the_busy_time_exactly(steps: list[tuple[Fraction, int]]) -> None:
    now = Fraction(0)
    box = Occupancy(lambda: now)  # type: ignore[arg-type, return-value]
    inside: list[float] = []
    shares = Fraction(0)
    busy = Fraction(0)
    for elapsed, who_leaves in steps:
        now += elapsed
        busy += elapsed if inside else 0
        if 0 <= who_leaves < len(inside):
            shares += Fraction(box.leave(inside.pop(who_leaves)))
        else:
            inside.append(box.enter())
    now += 1
    busy += 1 if inside else 0
    for ticket in inside:
        shares += Fraction(box.leave(ticket))
    assert shares == busy == box.busy_seconds


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_no_call_is_charged_more_than_its_own_duration(arrivals: list[float]) -> None:
    clock = Clock()
    box = Occupancy(clock)
    tickets = []
    for arrival in sorted(arrivals):
        clock.now = arrival
        tickets.append((arrival, box.enter()))
    clock.now = 2e6
    for arrived, ticket in tickets:
        assert 0 <= box.leave(ticket) <= clock.now - arrived + 1e-6
