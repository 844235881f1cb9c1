"""What the gateway may count on when it predicts a wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.catalog.measured import MEASUREMENT, measurement

from breakeven.box.speed import best_known_speed, known_speed, measured_speeds
from breakeven.catalog.measurements import EngineUsed, Measurements
from breakeven.config import BoxSettings
from breakeven.economics.service import Basis

MAC = BoxSettings(machine="m4-max-128")
SHAPE = "llama-3.3-70b-q4_k_m"


def test_a_measurement_is_the_best_there_is(tmp_path: Path) -> None:
    Measurements(tmp_path).save(MEASUREMENT)
    speed = best_known_speed(tmp_path, MAC, "llama3.3:70b")
    assert speed is not None
    assert (speed.basis, speed.source) == (Basis.MEASURED, MEASUREMENT.source)
    assert speed.prefill_tokens_per_second(1000) == pytest.approx(95)
    assert speed.prefill_tokens_per_second(1000, parallel=2) == pytest.approx(47.5)
    assert speed.seconds(200, 150, 2000) < speed.seconds(2000, 150, 2000) < speed.seconds(2000, 150, 2000, parallel=4)


def test_a_measurement_of_another_server_is_not_taken_when_one_is_named(tmp_path: Path) -> None:
    Measurements(tmp_path).save(MEASUREMENT)
    assert best_known_speed(tmp_path, MAC, "llama3.3:70b", kind="engine") is None


def test_without_one_the_catalogue_answers_and_says_how_well_it_is_founded() -> None:
    speed = known_speed([], MAC, "llama3.3:70b", shape=SHAPE)
    assert speed is not None
    assert speed.basis is Basis.INFERRED
    assert speed.seconds(2000, 150, 2000) == pytest.approx(40)
    assert speed.seconds(2000, 150, 2000, parallel=2) == pytest.approx(50 + 15 * 1.125)
    assert speed.decode_tokens_per_second(2000) == 10
    assert speed.source


@pytest.mark.parametrize(("box", "shape"), [(BoxSettings(), SHAPE), (MAC, None), (MAC, "llama-3.1-8b-q8_0")])
def test_where_nobody_knows_there_is_no_answer(box: BoxSettings, shape: str | None) -> None:
    assert known_speed([], box, "some-model", shape=shape) is None


def test_targets_are_looked_up_by_provider_and_model_and_only_where_they_were_measured(tmp_path: Path) -> None:
    quicker = measurement(engine=EngineUsed("engine"), prefill=MEASUREMENT.prefill[:1], model="llama3.3:70b")
    for one in (MEASUREMENT, quicker):
        Measurements(tmp_path).save(one)
    speed_of = measured_speeds(tmp_path, MAC)
    sources = {name: getattr(speed_of((name, "llama3.3:70b")), "source", "") for name in ("ollama", "engine", "house")}
    assert sources["ollama"].endswith("on ollama")
    assert sources["engine"].endswith("on engine")
    assert sources["house"]
    assert speed_of(("ollama", "another")) is None
    assert measured_speeds(tmp_path, BoxSettings())(("ollama", "llama3.3:70b")) is None


def test_a_damaged_measurement_does_not_keep_the_gateway_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Measurements(tmp_path).save(MEASUREMENT).write_text("{")
    assert measured_speeds(tmp_path, MAC)(("ollama", "llama3.3:70b")) is None
    assert "cannot be read" in caplog.text
