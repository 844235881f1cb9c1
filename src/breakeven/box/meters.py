"""Power meters: cumulative energy counters of the hardware.

A meter sees what its counter covers, which is less than the socket: RAPL the processor packages and memory, NVML the
graphics cards, Apple's the chip. Figures drawn from it name it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from breakeven.units import WattHours

POWERCAP = Path("/sys/class/powercap")
JOULES_PER_WATT_HOUR = 3600


class PowerMeter(Protocol):
    """A cumulative energy counter."""

    name: str

    def read(self) -> WattHours | None:
        """Energy in Wh since some fixed moment; ``None`` when it cannot be read now."""
        ...


class NoMeter(Exception):
    """This machine has no such meter; the message says why, as a clause."""


class RaplMeter:
    """Linux RAPL: the energy of all processor packages, and of memory where it has a counter of its own.

    Counters wrap around at ``max_energy_range_uj``; one that reads less than before has done so once.
    """

    name = "rapl"

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [_RaplZone(folder) for folder in sorted(root.glob("intel-rapl:*")) if _counts(folder)]
        if not self._zones:
            raise NoMeter(f"the kernel offers no RAPL counters in {root}")

    def read(self) -> WattHours | None:
        """Energy since this object was made."""
        try:
            return sum(zone.advance() for zone in self._zones) / 1e6 / JOULES_PER_WATT_HOUR
        except (OSError, ValueError):
            return None


def _counts(folder: Path) -> bool:
    """Packages, and memory beside them; cores and graphics are part of a package, psys would count all twice."""
    name = (folder / "name").read_text(encoding="ascii").strip()
    return name.startswith("package") or name == "dram"


class _RaplZone:
    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        try:
            self._range = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
            self._last = self._now()
        except PermissionError as error:
            raise NoMeter(
                f"{self._counter} may be read by root only (allow it with: sudo chmod a+r {self._counter})"
            ) from error
        except (OSError, ValueError) as error:
            raise NoMeter(f"{self._counter} cannot be read: {error}") from error
        self._total = 0

    def _now(self) -> int:
        return int(self._counter.read_text(encoding="ascii"))

    def advance(self) -> int:
        """Microjoules since the zone was opened."""
        now = self._now()
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total


class NvmlMeter:
    """NVIDIA: the energy of all cards since the driver was loaded (Volta and newer)."""

    name = "nvml"

    def __init__(self, load: Callable[[str], Any] = importlib.import_module) -> None:
        try:
            self._nvml = load("pynvml")
        except ImportError:
            raise NoMeter("nvidia-ml-py is not installed (pip install 'breakeven[nvidia]')") from None
        try:
            self._nvml.nvmlInit()
            self._cards = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(self._nvml.nvmlDeviceGetCount())]
            self._millijoules()
        except self._nvml.NVMLError as error:
            raise NoMeter(f"NVML does not answer: {error}") from None
        if not self._cards:
            raise NoMeter("NVML sees no card")

    def _millijoules(self) -> int:
        return sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(card) for card in self._cards)

    def read(self) -> WattHours | None:
        """Energy since the driver was loaded."""
        try:
            return self._millijoules() / 1e3 / JOULES_PER_WATT_HOUR
        except self._nvml.NVMLError:
            return None


class AppleMeter:
    """Apple silicon: processor, graphics, neural engine and memory of the chip."""

    name = "apple"
    _parts = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")

    def __init__(self, load: Callable[[str], Any] = importlib.import_module) -> None:
        try:
            library = load("zeus_apple_silicon")
        except ImportError:
            raise NoMeter("zeus-apple-silicon is not installed (pip install 'breakeven[apple]', on a Mac)") from None
        try:
            self._monitor = library.AppleEnergyMonitor()
        except RuntimeError as error:
            raise NoMeter(f"the chip's energy counters cannot be opened: {error}") from None
        if self.read() is None:
            raise NoMeter("the chip reports no energy counters")

    def read(self) -> WattHours | None:
        """Energy since the counters began."""
        try:
            metrics = self._monitor.get_cumulative_energy()
        except RuntimeError:
            return None
        parts = [value for part in self._parts if (value := getattr(metrics, part, None)) is not None]
        return sum(parts) / 1e3 / JOULES_PER_WATT_HOUR if parts else None


class SumMeter:
    """Several meters of one machine, none of which covers what another does."""

    def __init__(self, meters: Sequence[PowerMeter]) -> None:
        self.name = "+".join(meter.name for meter in meters)
        self._meters = tuple(meters)

    def read(self) -> WattHours | None:
        """Their sum; unknown as long as one of them is."""
        readings = [meter.read() for meter in self._meters]
        known = [reading for reading in readings if reading is not None]
        return sum(known) if len(known) == len(readings) else None
