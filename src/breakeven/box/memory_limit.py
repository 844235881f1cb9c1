"""How much of this machine's memory a model may occupy."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import psutil

from breakeven.box.cache_size import Room
from breakeven.box.fit import Capacity
from breakeven.box.memory_cap import memory_caps
from breakeven.catalog.machines import WIRED_LIMIT, Machine
from breakeven.units import GIB, MIB


def this_machine(*, gpu_layers: int = -1) -> Capacity:
    """The GPU's memory where there is an NVIDIA card that is to be used, what macOS lets the GPU wire, else all.

    Args:
        gpu_layers: 0 for a model that is to run on the CPU.
    """
    total = psutil.virtual_memory().total
    if sys.platform == "darwin":
        return wired(total, _sysctl_wired_mib())
    cards = _card_bytes() if gpu_layers else []
    if cards:
        return Capacity(sum(cards), f"memory of {len(cards)} NVIDIA card{'s' if len(cards) > 1 else ''}")
    return _least(Capacity(total, "memory of this machine, all of it: other programs need some too"))


def wired(total_bytes: int, limit_mib: int | None) -> Capacity:
    """On macOS: ``iogpu.wired_limit_mb`` where it is set, else 75 %."""
    if limit_mib:
        return Capacity(min(total_bytes, limit_mib * MIB), f"iogpu.wired_limit_mb = {limit_mib}")
    share = int(total_bytes * WIRED_LIMIT)
    raised = int(total_bytes * 0.9 / MIB)
    return Capacity(
        share,
        f"macOS lets the GPU wire {WIRED_LIMIT:.0%} of {total_bytes / GIB:.0f} GiB;"
        f" more with: sudo sysctl iogpu.wired_limit_mb={raised}",
    )


def listed_machine(machine: Machine) -> Capacity:
    """A machine of the catalogue."""
    usable = int(machine.usable_memory_gib * GIB)
    if machine.family == "apple":
        return wired(int(machine.memory_gib.value * GIB), None)
    return Capacity(usable, f"{machine.name}: {machine.memory_gib.source}")


def host_room(need_bytes: int, *, gpu_layers: int = -1) -> Room:
    """Memory of the host now, and what a model takes of it that needs so much in all: nothing where cards hold it."""
    memory = psutil.virtual_memory()
    on_cards = 0 if sys.platform == "darwin" or not gpu_layers else sum(_card_bytes())
    total = _least(Capacity(memory.total, "")).usable_bytes
    return Room(min(memory.available, total), total, max(0, need_bytes - on_cards))


def _least(machine: Capacity) -> Capacity:
    """The machine's memory, or what this process may take if that is less."""
    return min((machine, *memory_caps()), key=lambda capacity: capacity.usable_bytes)


def _sysctl_wired_mib() -> int | None:
    command = ("/usr/sbin/sysctl", "-n", "iogpu.wired_limit_mb")
    said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()  # noqa: S603  a fixed command
    return int(said) if said.isdigit() else None


def _card_bytes() -> list[int]:
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001  no library, no driver and no card are the same answer here
        return []
    handles = (nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount()))
    return [int(nvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles]
