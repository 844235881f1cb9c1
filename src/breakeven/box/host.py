"""This machine in words: what a measurement was taken on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import psutil

from breakeven.units import GIB


def describe_host() -> str:
    """Processor, cores, memory and cards, for instance ``Apple M4 Max, 16 cores, 128 GiB``."""
    parts = [processor(), f"{os.cpu_count() or 1} cores", f"{psutil.virtual_memory().total / GIB:.0f} GiB"]
    return ", ".join([*parts, *graphics_cards()])


def processor() -> str:
    """The processor's name as the system states it, else its architecture."""
    if sys.platform == "darwin":
        return said_by("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        words = ""
    named = re.search(r"^model name\s*:\s*(.+)$", words, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def graphics_cards() -> list[str]:
    """Names of the NVIDIA cards that NVML sees; none where it is not installed."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001  no library, no driver and no card are the same answer here
        return []
    handles = (nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount()))
    return [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]


def said_by(*command: str) -> str | None:
    """What a command of the system prints; ``None`` when there is none, or it fails or does not end."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603  fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
