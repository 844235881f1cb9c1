"""The watt-hours of a call: from a power meter where the machine has one, else from the machine's known draw."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, TypeAlias

from breakeven.box.meters import AppleMeter, NoMeter, NvmlMeter, PowerMeter, RaplMeter, SumMeter
from breakeven.box.occupancy import Occupancy
from breakeven.economics.local import BoxCost, modelled_watt_hours
from breakeven.errors import ConfigError
from breakeven.units import Seconds, WattHours

log = logging.getLogger(__name__)

MeterSetting: TypeAlias = Literal["auto", "modelled", "rapl", "nvml", "apple"]

METERS: Mapping[str, Callable[[], PowerMeter]] = MappingProxyType(
    {"rapl": RaplMeter, "nvml": NvmlMeter, "apple": AppleMeter}
)
SAMPLE_EVERY: Seconds = 0.25
IDLE_WINDOW: Seconds = 1.0
"""Shortest quiet stretch from which a meter's idle draw is taken."""


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """The meter to use, or ``None`` for modelled energy, and why."""

    meter: PowerMeter | None
    reason: str


def choose_meter(setting: MeterSetting, meters: Mapping[str, Callable[[], PowerMeter]] = METERS) -> MeterChoice:
    """Pick the meter that ``box.power_meter`` asks for; ``auto`` adds up all that this machine has.

    Raises:
        ConfigError: a meter was asked for by name and is not there.
    """
    if setting == "modelled":
        return MeterChoice(None, "energy is modelled, as configured")
    found: list[PowerMeter] = []
    missing: list[str] = []
    for name in meters if setting == "auto" else (setting,):
        try:
            found.append(meters[name]())
        except NoMeter as error:
            if setting != "auto":
                raise ConfigError("box.power_meter", setting, f"a meter this machine has, but {error}") from error
            missing.append(f"{name}: {error}")
    if not found:
        return MeterChoice(None, f"energy is modelled, since no meter was found ({'; '.join(missing)})")
    meter = found[0] if len(found) == 1 else SumMeter(found)
    return MeterChoice(meter, f"energy is measured by {meter.name}")


class ModelledEnergy:
    """(W_load − W_idle) × busy time; unknown when the machine is."""

    meter = "modelled"

    def __init__(self, box: BoxCost | None) -> None:
        self._box = box

    def marginal_watt_hours(self, box_seconds: Seconds) -> Decimal | None:
        """Energy beyond idle that this much of the box's time took, in Wh."""
        return None if self._box is None else modelled_watt_hours(self._box, _exact(box_seconds))

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at: Seconds
    energy: WattHours
    busy: Seconds


class MeteredEnergy:
    """Measured energy beyond idle, handed out to calls by their share of the box's time.

    Between two samples of the meter the box drew ΔE over Δt. Idle draw × Δt of it would have been drawn anyway; the
    rest belongs to the calls, if any ran. A call takes, of the energy not handed out yet, the part that its
    box-seconds are of the busy time not handed out yet: all calls together get what was measured and nothing twice.
    The draw since the latest sample is taken to be that of the sample before and is settled by the next.

    The idle draw is the meter's own: the least seen over a quiet stretch of a second or more. Until there was one the
    machine's known idle draw stands in, although a meter that sees only part of the machine reads less than that.

    Args:
        idle_watts: the machine's known idle draw; 0 when it is unknown.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        meter: PowerMeter,
        occupancy: Occupancy,
        idle_watts: float,
        clock: Callable[[], Seconds] = time.perf_counter,
    ) -> None:
        self.meter = meter.name
        self.idle_watts = idle_watts
        self._idle_seen = False
        self._meter = meter
        self._occupancy = occupancy
        self._clock = clock
        self._lock = threading.Lock()
        self._last: _Sample | None = None
        self._quiet_since: _Sample | None = None
        self._busy_watts: float | None = None
        self._marginal_watt_hours: WattHours = 0.0
        self._given_watt_hours: WattHours = 0.0
        self._given_seconds = occupancy.busy_seconds
        self._stopped = threading.Event()
        self._sampler: threading.Thread | None = None

    def start(self) -> None:
        """Sample the meter four times a second on a thread of its own, until `close`."""

        def sample_on() -> None:
            while not self._stopped.wait(SAMPLE_EVERY):
                self.sample()

        self.sample()
        self._sampler = threading.Thread(target=sample_on, name="power meter", daemon=True)
        self._sampler.start()

    def close(self) -> None:
        """Stop sampling."""
        self._stopped.set()
        if self._sampler is not None:
            self._sampler.join()

    def sample(self) -> None:
        """Read the meter once; a reading that fails leaves its stretch of time to the next."""
        energy = self._meter.read()
        if energy is None:
            return
        with self._lock:
            now = _Sample(self._clock(), energy, self._occupancy.busy_seconds)
            if self._last is not None and now.at > self._last.at:
                self._account(self._last, now)
            self._last = now

    def marginal_watt_hours(self, box_seconds: Seconds) -> Decimal | None:
        """Energy beyond idle that this much of the box's time took, in Wh; ``None`` while the meter says nothing."""
        if self._busy_watts is None:  # the first call of all may end before the first regular sample
            self.sample()
        with self._lock:
            if self._last is None or self._busy_watts is None:
                return None
            busy = self._occupancy.busy_seconds
            not_measured = self._busy_watts * (busy - self._last.busy) / 3600
            left_watt_hours = self._marginal_watt_hours + not_measured - self._given_watt_hours
            left_seconds = max(busy - self._given_seconds, box_seconds)
            share = max(0.0, left_watt_hours * box_seconds / left_seconds) if left_seconds else 0.0
            self._given_watt_hours += share
            self._given_seconds += box_seconds
        return _exact(share, places=9)

    def _account(self, before: _Sample, now: _Sample) -> None:
        elapsed, busy, drawn = now.at - before.at, now.busy - before.busy, now.energy - before.energy
        if drawn < 0:  # the counter began anew
            self._quiet_since = None
            self._marginal_watt_hours += (self._busy_watts or 0.0) * busy / 3600
        elif busy:
            self._quiet_since = None
            marginal = drawn - self.idle_watts * elapsed / 3600
            self._marginal_watt_hours += marginal
            self._busy_watts = max(0.0, marginal / busy * 3600)
        else:
            self._quiet_since = self._quiet_since or before
            quiet = now.at - self._quiet_since.at
            if quiet >= IDLE_WINDOW:
                watts = (now.energy - self._quiet_since.energy) / quiet * 3600
                self.idle_watts = min(self.idle_watts, watts) if self._idle_seen else watts
                self._idle_seen = True
                self._quiet_since = now


Energy: TypeAlias = ModelledEnergy | MeteredEnergy


def metered_energy(setting: MeterSetting, box: BoxCost | None, occupancy: Occupancy) -> Energy:
    """The source of watt-hours that ``box.power_meter`` asks for, running; `close` it in the end.

    Raises:
        ConfigError: a meter was asked for by name and is not there.
    """
    choice = choose_meter(setting)
    log.info(choice.reason)
    if choice.meter is None:
        return ModelledEnergy(box)
    energy = MeteredEnergy(choice.meter, occupancy, float(box.idle_watts) if box is not None else 0.0)
    energy.start()
    return energy


def _exact(value: float, places: int = 6) -> Decimal:
    return Decimal(round(value * 10**places)).scaleb(-places)
