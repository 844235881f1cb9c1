"""A plan prefers what was measured on the box over what others published of its like."""

from __future__ import annotations

import json

import pytest
from tests.catalog.measured import MEASUREMENT, measurement
from typer.testing import CliRunner

from breakeven.catalog.machines import find_machine
from breakeven.catalog.measurements import Measurements
from breakeven.catalog.shapes import find_shape
from breakeven.cli.main import build
from breakeven.economics.service import Basis
from breakeven.planning.scenario import parse
from breakeven.planning.serving import box_speed

LLAMA = find_shape("llama-3.3-70b-q4_k_m")


def speed(measured=(), machine="m4-max-128", **serving):
    scenario = parse({"serving": {"model": LLAMA.key, **serving}, "box": {"machine": machine}})
    found = box_speed(scenario, LLAMA, find_machine(machine), measured)
    assert found is not None
    return found


def test_measured_speeds_take_the_place_of_the_catalogues():
    assert speed().prefill.basis is Basis.INFERRED
    found = speed([MEASUREMENT])
    assert (found.prefill.basis, found.decode.basis) == (Basis.MEASURED, Basis.MEASURED)
    assert found.prefill.tokens_per_second == pytest.approx(95)


def test_a_measurement_of_another_machine_or_model_changes_nothing():
    assert speed([MEASUREMENT], machine="m3-ultra-256") == speed(machine="m3-ultra-256")
    assert speed([measurement(shape=None)]) == speed()


def test_a_rate_given_in_the_scenario_is_a_what_if_and_wins():
    found = speed([MEASUREMENT], prefill_tokens_per_second=500)
    assert (found.prefill.basis, found.prefill.tokens_per_second) == (Basis.CONFIGURED, 500)


def test_answers_at_once_slow_each_other_down_as_measured():
    assert speed([MEASUREMENT], slots=4).parallel_slowdown(4) == pytest.approx(1.657, abs=0.01)
    assert speed(slots=4).parallel_slowdown(4) == pytest.approx(1 + 3 * 10 / 80)


def test_the_command_plans_with_what_measure_kept_and_names_it_as_the_source(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKEVEN_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Measurements(tmp_path).save(MEASUREMENT)
    done = CliRunner().invoke(build(), ["plan", "--preset", "seed-agents", "--json"])
    assert done.exit_code == 0, done.output
    assert f"measured: {MEASUREMENT.source}" in json.dumps(json.loads(done.stdout), ensure_ascii=False)
