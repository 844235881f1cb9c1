"""Reading what holds the machine back, from files as the kernel writes them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from breakeven.box.pressure import CpuQueue, PressureWatch, stalled_seconds

PSI = "some avg10=1.53 avg60=0.87 avg300=0.73 total={total}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"


def write_pressure(root: Path, cpu: int, memory: int) -> None:
    (root / "cpu").write_text(PSI.format(total=cpu))
    (root / "memory").write_text(PSI.format(total=memory))


def test_pressure_is_read_in_seconds(tmp_path: Path) -> None:
    write_pressure(tmp_path, 16_117_476, 0)
    assert stalled_seconds("cpu", tmp_path) == pytest.approx(16.117476)
    assert stalled_seconds("memory", tmp_path) == 0


def test_a_kernel_without_pressure_information_is_unknown_not_zero(tmp_path: Path) -> None:
    assert stalled_seconds("cpu", tmp_path) is None
    shares = PressureWatch(tmp_path, clock=itertools.count().__next__).shares()
    assert (shares.cpu, shares.memory) == (None, None)


def test_a_watch_gives_the_share_of_the_time_since_it_was_made(tmp_path: Path) -> None:
    write_pressure(tmp_path, 1_000_000, 500_000)
    watch = PressureWatch(tmp_path, clock=iter((10.0, 20.0)).__next__)
    write_pressure(tmp_path, 4_000_000, 500_000)
    shares = watch.shares()
    assert (shares.cpu, shares.memory) == (pytest.approx(0.3), 0.0)


def write_threads(root: Path, **waited: int) -> None:
    for name, nanoseconds in waited.items():
        folder = root / "42" / "task" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"123456789 {nanoseconds} 77\n")


def test_the_thread_that_waited_longest_for_a_cpu_counts(tmp_path: Path) -> None:
    write_threads(tmp_path, a=1_000_000_000, b=0)
    queue = CpuQueue(42, tmp_path)
    before = queue.read()
    write_threads(tmp_path, a=1_200_000_000, b=500_000_000, c=100_000_000)
    assert queue.waited_since(before) == pytest.approx(0.5)


def test_a_process_that_nobody_counts_waits_for_nothing(tmp_path: Path) -> None:
    assert CpuQueue(42, tmp_path).read() == {}
    assert CpuQueue(42, tmp_path).waited_since({}) == 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no schedstat")
def test_this_process_is_counted() -> None:
    assert CpuQueue(os.getpid()).read()
