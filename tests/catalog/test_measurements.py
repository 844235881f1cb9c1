import pytest
from tests.catalog.measured import MEASUREMENT, measurement

from breakeven.catalog.measurements import Conditions, Measurements, measured_speed, newest
from breakeven.errors import InputError

NOISY = Conditions(cpu_pressure=0.4)


def test_a_measurement_comes_back_as_it_was_written(tmp_path):
    Measurements(tmp_path).save(MEASUREMENT)

    assert Measurements(tmp_path).all() == [MEASUREMENT]


def test_measuring_the_same_again_replaces_it_and_other_settings_stand_beside_it(tmp_path):
    store = Measurements(tmp_path)
    again = measurement(taken_at="2026-11-25T09:00:00+00:00")
    other = measurement(model="qwen3:8b", taken_at="2026-11-26T09:00:00+00:00")
    for one in (MEASUREMENT, again, other):
        store.save(one)

    assert store.all() == [other, again]


def test_without_any_the_list_is_empty(tmp_path):
    assert Measurements(tmp_path).all() == []


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    file = Measurements(tmp_path).save(MEASUREMENT)
    file.write_text("{")

    with pytest.raises(InputError, match=rf"{file.name} cannot be read.*Delete it"):
        Measurements(tmp_path).all()


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "measurements").write_text("in the way")

    with pytest.raises(InputError, match="cannot be written"):
        Measurements(tmp_path).save(MEASUREMENT)


def test_the_newest_quiet_measurement_of_machine_and_model_is_taken():
    older = measurement(taken_at="2026-11-20T09:00:00+00:00")
    noisy = measurement(taken_at="2026-11-25T09:00:00+00:00", conditions=NOISY)
    everything = [older, MEASUREMENT, noisy]

    def find(**wanted):
        return newest(everything, **wanted)

    assert find(machine="m4-max-128", shape="llama-3.3-70b-q4_k_m") is MEASUREMENT
    assert find(machine="m4-max-128", model="llama3.3:70b") is MEASUREMENT
    assert find(machine=None, model="llama3.3:70b") is None
    assert find(machine="m4-max-128", model="qwen3:8b") is None
    assert newest([noisy], machine="m4-max-128", model="llama3.3:70b") is noisy


def test_a_measurement_says_when_and_on_what_it_was_taken():
    assert MEASUREMENT.source == "breakeven measure on 2026-11-24, llama3.3:70b on ollama"
    assert measurement(conditions=NOISY).source.endswith("on a busy machine")


def test_plans_get_both_speeds_at_the_size_of_their_requests_and_the_measured_cost_of_batching():
    speed = measured_speed(MEASUREMENT, input_tokens=2000, output_tokens=150, slots=4)

    assert speed.prefill.basis == speed.decode.basis == "measured"
    assert speed.prefill.tokens_per_second == pytest.approx(95)
    assert speed.decode.tokens_per_second == pytest.approx(1 / (0.09 + 2075e-6), rel=1e-3)
    assert speed.parallel_slowdown(4) == pytest.approx((0.09 * 1.6 + 4 * 2075e-6) / (0.09 + 2075e-6), rel=1e-3)
    alone = measured_speed(MEASUREMENT, input_tokens=2000, output_tokens=150, slots=1)
    assert alone.measured_batch_cost is None
