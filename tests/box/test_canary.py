"""When the answer to a known prompt calls for a new load."""

from __future__ import annotations

import pytest

from breakeven.box.canary import Canary


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
