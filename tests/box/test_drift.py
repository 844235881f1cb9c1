"""A slowdown and its cause, told apart by what strains the machine."""

from __future__ import annotations

from dataclasses import replace

from tests.box.checkup.healthy import timings

from breakeven.box.drift import Baseline, Cause, Strain, Timing, find_drift

USUAL = Baseline.of(timings(0, 6000))
SLOW = timings(6000, 7000, slower=1.8)


def cause(recent: tuple[Timing, ...] = SLOW, **strain: object) -> Cause | None:
    found = find_drift(recent, USUAL, Strain(**strain))  # type: ignore[arg-type]
    return None if found is None else found.cause


def test_calls_as_fast_as_usual_are_no_drift_whatever_strains_the_machine() -> None:
    assert cause(timings(6000, 7000, slower=1.2), cpu_share=0.9, memory_share=0.9) is None


def test_prefill_and_decode_are_compared_with_calls_of_their_own_size() -> None:
    longer = tuple(Timing(at, 6000, 6000, 50, 90.0, 7.0) for at in range(10))
    assert cause(longer) is None  # nothing is known of prompts of this size


def test_calls_beside_others_are_compared_with_calls_beside_as_many() -> None:
    burst = tuple(replace(timing, parallel=4) for timing in SLOW)
    assert cause(burst) is None
    usual = Baseline.of([*timings(0, 6000), *(replace(timing, at=0) for timing in burst)])
    assert find_drift(burst, usual, Strain()) is None


def test_each_cause_is_told_from_what_strains_the_machine() -> None:
    assert cause(cpu_share=0.5) is Cause.CPU
    assert cause(cpu_share=0.5, throttled=("card 0 is held back by heat",)) is Cause.HEAT
    assert cause(cpu_share=0.5, throttled=("heat",), memory_share=0.2) is Cause.MEMORY
    assert cause(swap_bytes_per_second=50e6) is Cause.MEMORY
    assert cause() is Cause.UNEXPLAINED


def test_slow_decode_alone_is_seen() -> None:
    recent = tuple(Timing(at, 200, 2000, 50, 2.0, 9.8) for at in range(10))
    found = find_drift(recent, USUAL, Strain(cpu_share=0.5))
    assert found is not None
    assert found.times == 2.0


def test_waiting_for_the_model_to_load_is_told_whatever_the_rates() -> None:
    recent = tuple(Timing(at, 200, 2000, 50, 2.0, 4.9, load=14.0 if at % 4 == 0 else 0.01) for at in range(12))
    found = find_drift(recent, USUAL, Strain())
    assert found is not None
    assert found.cause is Cause.RELOAD
    assert "3 of 12 recent calls waited for the model to load, 14.0 s each" in found.says


def test_actions_fit_the_cause() -> None:
    neighbours, heat = (find_drift(SLOW, USUAL, strain) for strain in (Strain(0.5), Strain(throttled=("hot",))))
    assert neighbours is not None
    assert heat is not None
    assert not neighbours.fewer_at_once
    assert heat.fewer_at_once


def test_too_few_calls_say_nothing() -> None:
    assert find_drift(SLOW[:4], USUAL, Strain(cpu_share=1)) is None
    assert find_drift(SLOW, Baseline.of(timings(0, 200)), Strain(cpu_share=1)) is None
    assert Baseline().slowdown(()) is None
