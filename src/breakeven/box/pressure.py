"""What holds the machine back: readers of pressure, swap and heat; ``None`` is "cannot be told here".

Pressure stall information: https://docs.kernel.org/accounting/psi.html
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import psutil

from breakeven.box.drift import Strain
from breakeven.box.heat import over_limit, thermal_zones, throttling
from breakeven.box.host import said_by
from breakeven.units import Seconds

PRESSURE = Path("/proc/pressure")

Resource: TypeAlias = Literal["cpu", "memory", "io"]


def stalled_seconds(resource: Resource, root: Path = PRESSURE) -> Seconds | None:
    """Seconds since boot in which some process waited for the resource; ``None`` where the kernel does not count."""
    try:
        text = (root / resource).read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^some .*total=(\d+)", text, re.MULTILINE)
    return int(found[1]) / 1e6 if found else None


class CpuQueue:
    """How long a process's busiest waiter among its threads stood ready without a CPU (Linux ``schedstat``).

    Args:
        pid: the process.
    """

    def __init__(self, pid: int, root: Path = Path("/proc")) -> None:
        self._tasks = root / str(pid) / "task"

    def read(self) -> dict[str, Seconds]:
        """Seconds each thread has waited so far; empty where the kernel does not count."""
        waited: dict[str, Seconds] = {}
        for stat in self._tasks.glob("*/schedstat"):
            try:
                waited[stat.parent.name] = int(stat.read_text(encoding="ascii").split()[1]) / 1e9
            except (OSError, ValueError, IndexError):  # the thread is gone, or the kernel counts otherwise
                continue
        return waited

    def waited_since(self, before: dict[str, Seconds]) -> Seconds:
        """Of the thread that waited longest since that reading."""
        return max((now - before.get(thread, 0.0) for thread, now in self.read().items()), default=0.0)


@dataclass(frozen=True, slots=True)
class PressureShares:
    """Share of a stretch of time in which some process waited; ``None`` where the kernel does not count."""

    cpu: float | None
    memory: float | None


class PressureWatch:
    """Pressure from its making to each reading.

    Args:
        root: where the kernel states it.
        clock: seconds, never going back.
    """

    def __init__(self, root: Path = PRESSURE, clock: Callable[[], Seconds] = time.perf_counter) -> None:
        self._root, self._clock = root, clock
        self._began = clock()
        self._cpu, self._memory = stalled_seconds("cpu", root), stalled_seconds("memory", root)

    def shares(self) -> PressureShares:
        """Shares of the time since the watch was made."""
        elapsed = self._clock() - self._began

        def share(resource: Resource, before: Seconds | None) -> float | None:
            now = stalled_seconds(resource, self._root)
            if before is None or now is None or elapsed <= 0:
                return None
            return min(1.0, max(0.0, (now - before) / elapsed))

        return PressureShares(share("cpu", self._cpu), share("memory", self._memory))


class StrainReader:
    """What held the machine back since the reading before; blocks for some milliseconds.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], Seconds] = time.perf_counter) -> None:
        self._clock = clock
        self._began, self._pressure, self._swapped = clock(), PressureWatch(clock=clock), swapped_bytes()

    def read(self) -> Strain:
        """Since the making or the last reading."""
        shares, swapped, now = self._pressure.shares(), swapped_bytes(), self._clock()
        elapsed, before = now - self._began, self._swapped
        self._began, self._pressure, self._swapped = now, PressureWatch(clock=self._clock), swapped
        per_second = None
        if before is not None and swapped is not None and elapsed > 0:
            per_second = max(0.0, (swapped - before) / elapsed)
        memory = shares.memory if sys.platform != "darwin" else _mac_memory()
        return Strain(shares.cpu, memory, per_second, (*(throttling() or ()), *over_limit(thermal_zones())))


def swapped_bytes() -> int | None:
    """Moved in and out since boot; ``None`` where the system does not say."""
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return None
    return int(swap.sin + swap.sout)


def _mac_memory() -> float | None:
    """macOS's pressure level as a share: normal 0, warning and critical well above what counts as short."""
    level = said_by("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level")
    return {"1": 0.0, "2": 0.5, "4": 1.0}.get(level or "")
