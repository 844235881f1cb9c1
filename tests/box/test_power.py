"""Meters and the watt-hours of calls."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakeven.box.meters import AppleMeter, NoMeter, NvmlMeter, RaplMeter, SumMeter
from breakeven.box.occupancy import Occupancy
from breakeven.box.power import MeteredEnergy, ModelledEnergy, choose_meter, metered_energy
from breakeven.economics.local import BoxCost
from breakeven.errors import ConfigError

BOX = BoxCost(
    purchase_usd=Decimal(6000),
    term_months=36,
    idle_watts=Decimal(10),
    load_watts=Decimal(130),
    usd_per_kwh=Decimal("0.17"),
)


class Machine:
    """A box whose time passes and whose meter counts when told to."""

    name = "fake"

    def __init__(self, idle_watts: float = 10.0) -> None:
        self.now = 0.0
        self.energy: float | None = 1000.0
        self.occupancy = Occupancy(lambda: self.now)
        self.metered = MeteredEnergy(self, self.occupancy, idle_watts, clock=lambda: self.now)
        self.metered.sample()

    def read(self) -> float | None:
        return self.energy

    def passes(self, seconds: float, watts: float) -> None:
        self.now += seconds
        assert self.energy is not None
        self.energy += watts * seconds / 3600
        self.metered.sample()


def powercap(root: Path, **zones: tuple[str, int]) -> Path:
    for zone, (name, energy) in zones.items():
        folder = root / zone.replace("_", ":")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(name + "\n")
        (folder / "max_energy_range_uj").write_text("1000000\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
    return root


def test_without_a_meter_energy_is_load_less_idle_over_busy_time() -> None:
    assert ModelledEnergy(BOX).marginal_watt_hours(36.0) == Decimal("1.2")
    assert ModelledEnergy(BOX).meter == "modelled"


def test_without_a_machine_modelled_energy_is_unknown() -> None:
    assert ModelledEnergy(None).marginal_watt_hours(36.0) is None


def test_a_metered_call_is_charged_what_was_drawn_beyond_idle() -> None:
    machine = Machine(idle_watts=10)
    ticket = machine.occupancy.enter()
    machine.passes(36, watts=110)
    assert machine.metered.marginal_watt_hours(machine.occupancy.leave(ticket)) == Decimal(1)


def test_idle_draw_is_charged_to_nobody() -> None:
    machine = Machine(idle_watts=10)
    machine.passes(3600, watts=10)
    ticket = machine.occupancy.enter()
    machine.passes(36, watts=110)
    share = machine.occupancy.leave(ticket)
    machine.passes(3600, watts=10)
    assert machine.metered.marginal_watt_hours(share) == Decimal(1)


def test_the_idle_draw_is_the_least_the_meter_itself_saw_while_nothing_ran() -> None:
    machine = Machine(idle_watts=50)
    machine.passes(2, watts=30)
    assert machine.metered.idle_watts == pytest.approx(30)
    machine.passes(0.5, watts=5)
    assert machine.metered.idle_watts == pytest.approx(30)
    machine.passes(0.5, watts=5)
    assert machine.metered.idle_watts == pytest.approx(5)
    machine.passes(5, watts=80)
    assert machine.metered.idle_watts == pytest.approx(5)


def test_a_meter_below_the_idle_draw_gives_zero_and_never_less() -> None:
    machine = Machine(idle_watts=200)
    ticket = machine.occupancy.enter()
    machine.passes(36, watts=110)
    assert machine.metered.marginal_watt_hours(machine.occupancy.leave(ticket)) == 0


def test_a_meter_that_cannot_be_read_leaves_energy_unknown() -> None:
    machine = Machine()
    machine.energy = None
    ticket = machine.occupancy.enter()
    machine.now += 10
    assert machine.metered.marginal_watt_hours(machine.occupancy.leave(ticket)) is None


def test_a_counter_that_begins_anew_is_bridged_by_the_latest_draw() -> None:
    machine = Machine(idle_watts=0)
    ticket = machine.occupancy.enter()
    machine.passes(36, watts=100)
    machine.energy = -5000.0
    machine.passes(36, watts=100)
    assert machine.metered.marginal_watt_hours(machine.occupancy.leave(ticket)) == Decimal(2)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(10, 500), st.integers(-1, 3)), min_size=1, max_size=40))
def test_calls_together_get_the_measured_energy_and_nothing_twice(steps: list[tuple[float, float, int]]) -> None:
    machine = Machine(idle_watts=10)
    inside: list[float] = []
    given_out, marginal = 0.0, 0.0

    def leave(ticket: float) -> float:
        watt_hours = machine.metered.marginal_watt_hours(machine.occupancy.leave(ticket))
        assert watt_hours is not None
        assert watt_hours >= 0
        return float(watt_hours)

    machine.passes(1, watts=10)
    for seconds, watts, who_leaves in steps:
        if 0 <= who_leaves < len(inside):
            given_out += leave(inside.pop(who_leaves))
        else:
            inside.append(machine.occupancy.enter())
        machine.passes(seconds, watts if inside else 10)
        marginal += (watts - 10) * seconds / 3600 if inside else 0
    for ticket in inside:
        given_out += leave(ticket)
    assert given_out == pytest.approx(marginal, abs=1e-6)


def test_rapl_adds_packages_and_memory_and_leaves_out_what_they_contain(tmp_path: Path) -> None:
    zones = {"intel-rapl_0": ("package-0", 100), "intel-rapl_0_0": ("core", 7), "intel-rapl_0_1": ("dram", 50)}
    meter = RaplMeter(powercap(tmp_path, **zones, **{"intel-rapl_1": ("psys", 900)}))
    powercap(
        tmp_path,
        **{"intel-rapl_0": ("package-0", 36_100), "intel-rapl_0_0": ("core", 9000), "intel-rapl_0_1": ("dram", 50)},
    )
    assert meter.read() == pytest.approx(0.036 / 3600)


def test_rapl_counts_on_when_a_counter_wraps_around(tmp_path: Path) -> None:
    meter = RaplMeter(powercap(tmp_path, **{"intel-rapl_0": ("package-0", 900_000)}))
    powercap(tmp_path, **{"intel-rapl_0": ("package-0", 100_000)})
    assert meter.read() == pytest.approx(0.2 / 3600)
    powercap(tmp_path, **{"intel-rapl_0": ("package-0", 300_000)})
    assert meter.read() == pytest.approx(0.4 / 3600)


def test_rapl_that_vanishes_reads_as_unknown(tmp_path: Path) -> None:
    meter = RaplMeter(powercap(tmp_path, **{"intel-rapl_0": ("package-0", 1)}))
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.read() is None


def test_rapl_for_root_only_says_how_to_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap(tmp_path, **{"intel-rapl_0": ("package-0", 1)})
    read_text = Path.read_text

    def refused(path: Path, *arguments: Any, **options: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(NoMeter, match=r"root only .*chmod a\+r .*energy_uj"):
        RaplMeter(tmp_path)


def test_without_powercap_there_is_no_rapl(tmp_path: Path) -> None:
    with pytest.raises(NoMeter, match="no RAPL counters"):
        RaplMeter(tmp_path)


def nvml(energies: list[int], error: type[Exception]) -> Any:
    def consumption(card: int) -> int:
        if energies[card] < 0:
            raise error("lost")
        return energies[card]

    return SimpleNamespace(
        NVMLError=error,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(energies),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=consumption,
    )


def test_nvml_adds_the_millijoules_of_all_cards() -> None:
    energies = [3_600_000, 7_200_000]
    meter = NvmlMeter(lambda _: nvml(energies, OSError))
    assert meter.read() == 3.0
    energies[0] = -1
    assert meter.read() is None


def test_cards_without_an_energy_counter_are_no_meter() -> None:
    with pytest.raises(NoMeter, match="does not answer: lost"):
        NvmlMeter(lambda _: nvml([-1], OSError))
    with pytest.raises(NoMeter, match="sees no card"):
        NvmlMeter(lambda _: nvml([], OSError))


def test_the_apple_meter_adds_the_parts_the_chip_reports() -> None:
    metrics = SimpleNamespace(cpu_total_mj=1_800_000, gpu_mj=1_800_000, ane_mj=None)
    monitor = SimpleNamespace(get_cumulative_energy=lambda: metrics)
    meter = AppleMeter(lambda _: SimpleNamespace(AppleEnergyMonitor=lambda: monitor))
    assert meter.read() == 1.0


@pytest.mark.parametrize("meter", [NvmlMeter, AppleMeter])
def test_a_missing_library_is_named_with_its_extra(meter: type[NvmlMeter | AppleMeter]) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    with pytest.raises(NoMeter, match=r"pip install 'breakeven\["):
        meter(missing)


def absent() -> Any:
    raise NoMeter("there is none")


def test_auto_takes_every_meter_there_is() -> None:
    machine = Machine()
    other = Machine()
    other.name = "other"
    choice = choose_meter("auto", {"rapl": lambda: machine, "nvml": lambda: other, "apple": absent})
    assert choice.reason == "energy is measured by fake+other"
    assert isinstance(choice.meter, SumMeter)
    assert choice.meter.read() == 2000
    other.energy = None
    assert choice.meter.read() is None


def test_auto_without_any_meter_models_and_says_why() -> None:
    choice = choose_meter("auto", {"rapl": absent})
    assert (choice.meter, choice.reason) == (
        None,
        "energy is modelled, since no meter was found (rapl: there is none)",
    )


def test_a_meter_asked_for_by_name_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"box\.power_meter = 'rapl'.*there is none"):
        choose_meter("rapl", {"rapl": absent})


def test_modelled_asks_no_meter() -> None:
    energy = metered_energy("modelled", BOX, Occupancy())
    assert energy.meter == "modelled"
    energy.close()


def test_the_sampling_thread_ends_on_close() -> None:
    machine = Machine()
    machine.metered.start()
    machine.metered.close()
