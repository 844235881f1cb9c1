"""When the answer to a known prompt calls for a new load."""

from __future__ import annotations

import pytest

from breakeven.box.canary import Canary, vector


def test_the_first_answer_is_the_reference_and_the_same_again_is_well() -> None:
    canary, fault = Canary().judge("Wednesday", just_loaded=True)
    assert (canary, fault) == (Canary("Wednesday"), None)
    assert canary.judge("Wednesday", just_loaded=False) == (canary, None)
    assert canary.judge("Wednesday", just_loaded=True) == (canary, None)


@pytest.mark.parametrize("just_loaded", [True, False])
def test_another_answer_is_a_fault_that_names_both(just_loaded: bool) -> None:
    _, fault = Canary("Wednesday").judge("!!!!", just_loaded=just_loaded)
    assert fault == "the engine answered its canary prompt with '!!!!' instead of 'Wednesday'"


@pytest.mark.parametrize("answer", [None, ""])
def test_no_answer_is_a_fault_and_no_reference(answer: str | None) -> None:
    canary, fault = Canary().judge(answer, just_loaded=True)
    assert (canary.reference, fault) == (None, "the engine did not answer its canary prompt")


def test_a_vector_may_differ_by_the_order_of_sums_and_no_more() -> None:
    known = tuple(float(n % 7 - 3) for n in range(300))
    canary = Canary(known)
    rounded = tuple(number * (1 + 1e-5 * (n % 3)) for n, number in enumerate(known))
    assert canary.judge(rounded, just_loaded=False) == (canary, None)  # the reference does not wander
    damaged = (40.0, *known[1:])
    for other in (damaged, known[:-1], tuple(0.0 for _ in known), tuple(-number for number in known)):
        _, fault = canary.judge(other, just_loaded=False)
        assert fault is not None
        assert "with a vector of" in fault
    assert canary.judge((), just_loaded=False)[1] == "the engine did not answer its canary prompt"


def test_a_vector_that_is_not_made_of_numbers_is_no_answer() -> None:
    assert vector([0.5, None]) is None
    assert vector([0.5, 1]) == (0.5, 1)


def test_two_loads_that_agree_outvote_the_reference() -> None:
    canary, _ = Canary("!!!!").judge("Wednesday", just_loaded=False)
    canary, fault = canary.judge("Wednesday", just_loaded=True)
    assert fault is not None
    assert canary.judge("Wednesday", just_loaded=True) == (Canary("Wednesday"), None)


def test_two_loads_that_do_not_agree_settle_nothing() -> None:
    canary, _ = Canary("Wednesday").judge("!!!!", just_loaded=True)
    canary, fault = canary.judge("????", just_loaded=True)
    assert fault is not None
    assert canary.reference == "Wednesday"
