import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakeven.economics.queueing import Arrivals, boxes_for_wait, replay
from breakeven.errors import ScenarioError


def arrivals(*requests):
    at, prefill, decode = zip(*requests, strict=True)
    return Arrivals(np.array(at, float), np.array(prefill, float), np.array(decode, float))


requests = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20), st.floats(0.1, 20)), min_size=1, max_size=40).map(
    lambda rows: arrivals(*sorted(rows))
)


def test_one_box_serves_one_after_the_other():
    result = replay(arrivals((0, 2, 3), (1, 2, 3), (20, 1, 1)), 1)

    assert result.waited.tolist() == [0, 4, 0]
    assert result.finished_seconds == 22
    assert result.busy_share == pytest.approx(12 / 22)


def test_a_second_box_takes_the_second_request():
    assert replay(arrivals((0, 2, 3), (1, 2, 3)), 2).waited.tolist() == [0, 0]


def test_forty_topics_at_once_on_one_box_take_forty_times_as_long():
    assert replay(arrivals(*[(0, 25, 15)] * 40), 1).finished_seconds == 1600


def test_two_slots_prefill_in_turn_and_decode_together():
    result = replay(arrivals((0, 10, 10), (0, 10, 10)), 1, slots=2, decode_to_prefill=0.125)

    assert result.waited.tolist() == [0, 0]
    # the first answer gets a token for each piece of 512 of the second prompt, and then both are decoded together
    assert result.finished_seconds == pytest.approx(20 + 10 * 1.125, rel=0.01)


def test_an_answer_all_but_stands_still_while_a_prompt_is_computed():
    result = replay(arrivals((0, 0, 10), (5, 30, 0.1)), 1, slots=2, decode_to_prefill=0.125)

    assert result.finished_seconds == pytest.approx(5 + 30 + 5, rel=0.02)


def test_slots_are_worth_something_but_less_than_boxes():
    load = arrivals(*[(0, 10, 30)] * 8)

    def finished(boxes, slots):
        return replay(load, boxes, slots=slots, decode_to_prefill=0.125).finished_seconds

    assert finished(4, 1) < finished(1, 4) < finished(1, 1)


@given(requests, st.integers(1, 5))
def test_more_boxes_never_make_the_wait_longer(load, boxes):
    assert replay(load, boxes + 1).waited.sum() <= replay(load, boxes).waited.sum() + 1e-9


@settings(deadline=None)
@given(requests, st.integers(1, 3), st.integers(1, 4))
def test_work_is_conserved(load, boxes, slots):
    result = replay(load, boxes, slots=slots)

    assert (result.waited >= -1e-9).all()
    assert 0 <= result.busy_share <= 1 + 1e-9
    assert result.finished_seconds >= load.service.max() - 1e-6


@settings(deadline=None)
@given(requests)
def test_slots_that_are_never_shared_change_nothing(load):
    apart = Arrivals(np.arange(len(load.at)) * 1000.0, load.prefill, load.decode)

    assert replay(apart, 1, slots=3).finished_seconds == pytest.approx(replay(apart, 1).finished_seconds)


def test_the_fewest_boxes_that_keep_the_wait_are_found():
    load = arrivals(*[(second, 0, 10) for second in range(200)])
    found = boxes_for_wait(lambda n: replay(load, n), at_least=1, limit_seconds=0)

    assert found.boxes == 10
    assert replay(load, 9).wait_quantile(0.95) > 0


@pytest.mark.parametrize("rows", [[(5, 1, 1), (0, 1, 1)], [(0, -1, 1)], [(0, float("nan"), 1)]])
def test_arrivals_out_of_order_negative_or_unknown_are_refused(rows):
    with pytest.raises(ScenarioError, match="arrivals"):
        arrivals(*rows)


def test_no_boxes_are_refused():
    with pytest.raises(ScenarioError, match="boxes"):
        replay(arrivals((0, 1, 1)), 0)
