"""Reads the machine: strain over a moment, heat, power, disk, clock, and what listens."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from breakeven.box.checkup.facts import Listener, MachineFacts, ThermalZone
from breakeven.box.discovery import PORTS
from breakeven.box.power import choose_meter
from breakeven.box.pressure import PressureWatch
from breakeven.catalog.machines import box_cost
from breakeven.config import BoxSettings
from breakeven.config.addresses import is_loopback
from breakeven.errors import ConfigError
from breakeven.units import Seconds

WATCHED: Seconds = 1.0
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


def read_machine(box: BoxSettings, home: Path, *, watched: Seconds = WATCHED) -> MachineFacts:
    """Watches the machine for a moment."""
    pressure, swapped, began = PressureWatch(), _swapped(), time.perf_counter()
    time.sleep(watched)
    shares, elapsed = pressure.shares(), time.perf_counter() - began
    after = _swapped()
    per_second = None if swapped is None or after is None else max(0.0, (after - swapped) / elapsed)
    try:
        choice = choose_meter(box.power_meter)
        meter, reason = (choice.meter.name if choice.meter is not None else None), choice.reason
    except ConfigError as error:
        meter, reason = None, error.message
    return MachineFacts(
        zones=tuple(thermal_zones()),
        throttled=_throttled(),
        cpu_share=shares.cpu,
        memory_share=shares.memory if sys.platform != "darwin" else _mac_memory(),
        swap_bytes_per_second=per_second,
        meter=meter,
        meter_reason=reason,
        draw_known=box_cost(box) is not None,
        disk_free_bytes=_free(home),
        home=str(home),
        clock_synchronised=_clock_synchronised(),
        now=time.time(),
    )


def _swapped() -> int | None:
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return None
    return int(swap.sin + swap.sout)


def _free(home: Path) -> int | None:
    folder = next((folder for folder in (home, *home.parents) if folder.exists()), None)
    try:
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:
        return None


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


def _throttled() -> tuple[str, ...] | None:
    """Of cards and of a Mac; ``None`` when neither can be asked."""
    if sys.platform == "darwin":
        return mac_throttling(_output("/usr/bin/pmset", "-g", "therm") or "")
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


def _mac_memory() -> float | None:
    """macOS's pressure level as a share: normal 0, warning and critical well above what counts as short."""
    level = _output("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level")
    return {"1": 0.0, "2": 0.5, "4": 1.0}.get(level or "")


def _clock_synchronised() -> bool | None:
    if sys.platform != "linux":
        return None
    said = _output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said or "")


def _output(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603  fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def open_listeners(*own_ports: int) -> tuple[Listener, ...] | None:
    """Model servers, and the gateway's port, that listen beyond this machine; ``None`` without the right to look."""
    ports = {port: kind for kind, port in PORTS.items()} | dict.fromkeys(own_ports, "the gateway")
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    bound = [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]
    open_ones = {
        Listener(address.port, address.ip, ports[address.port])
        for address in bound
        if address and address.port in ports and not is_loopback(address.ip)
    }
    return tuple(sorted(open_ones, key=lambda listener: (listener.port, listener.address)))
