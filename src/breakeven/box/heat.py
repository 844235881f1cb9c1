"""What says that the machine is too hot to run at full speed: Linux's sensors, NVIDIA cards, macOS."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from breakeven.box.host import said_by

THERMAL = Path("/sys/class/thermal")
SLOWING_TRIPS = ("passive", "hot")
NVML_REASONS = {
    0x04: "its power limit",
    0x08: "the hardware's brake",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "the power supply's brake",
}
"""Bits of NVML's clocks event reasons that make a card slower than it could be while it works."""


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """A sensor, and the temperature from which the system slows down."""

    name: str
    celsius: float
    limit_celsius: float | None


def thermal_zones(root: Path = THERMAL) -> list[ThermalZone]:
    """Linux's sensors, each with the lowest temperature at which it slows the system down."""
    zones = []
    for folder in sorted(root.glob("thermal_zone*")):
        try:
            celsius = int((folder / "temp").read_text(encoding="ascii")) / 1000
            name = (folder / "type").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        zones.append(ThermalZone(name, celsius, min(_limits(folder), default=None)))
    return [zone for zone in zones if zone.celsius > 0]


def _limits(folder: Path) -> list[float]:
    limits = []
    for kind in folder.glob("trip_point_*_type"):
        try:
            if kind.read_text(encoding="ascii").strip() not in SLOWING_TRIPS:
                continue
            limit = int(kind.with_name(kind.name.replace("_type", "_temp")).read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            continue
        if limit > 0:
            limits.append(limit)
    return limits


def over_limit(zones: list[ThermalZone]) -> tuple[str, ...]:
    """The sensors at which Linux slows the system down now.

    >>> over_limit([ThermalZone("x86_pkg_temp", 96.0, 95.0), ThermalZone("acpitz", 30.0, None)])
    ('x86_pkg_temp has 96 °C and slows down at 95 °C',)
    """
    return tuple(
        f"{zone.name} has {zone.celsius:.0f} °C and slows down at {zone.limit_celsius:.0f} °C"
        for zone in zones
        if zone.limit_celsius is not None and zone.celsius >= zone.limit_celsius
    )


def throttling() -> tuple[str, ...] | None:
    """Why cards or a Mac's processor run slower than they could; ``None`` when neither can be asked."""
    if sys.platform == "darwin":
        return mac_throttling(said_by("/usr/bin/pmset", "-g", "therm") or "")
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        return card_throttling(nvml)
    except Exception:  # noqa: BLE001  no library, no driver and no card are the same answer here
        return None


def card_throttling(nvml: Any) -> tuple[str, ...]:
    """What slows NVIDIA cards down, by NVML."""
    found = []
    for number in range(nvml.nvmlDeviceGetCount()):
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(nvml.nvmlDeviceGetHandleByIndex(number))
        reasons = [words for bit, words in NVML_REASONS.items() if bits & bit]
        found += [f"card {number} is held back by {' and '.join(reasons)}"] if reasons else []
    return tuple(found)


def mac_throttling(said: str) -> tuple[str, ...]:
    """What ``pmset -g therm`` says of limits.

    >>> mac_throttling("CPU Power notify\\n\\tCPU_Speed_Limit \\t= 70\\n")
    ('macOS limits the processor to 70 % of its speed for heat',)
    >>> mac_throttling("Note: No thermal warning level has been recorded")
    ()
    """
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", said)
    if limit is None or int(limit[1]) >= 100:
        return ()
    return (f"macOS limits the processor to {limit[1]} % of its speed for heat",)
