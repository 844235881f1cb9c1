"""Limits on what a process may take of the memory, as the kernel writes them down."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from breakeven.box.memory_cap import memory_caps, out_of_memory_kills
from breakeven.box.memory_limit import this_machine
from breakeven.units import GIB

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")


def machine(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def caps(root: Path) -> list[int]:
    return [cap.usable_bytes for cap in memory_caps(root) if "control group" in cap.source]


def test_a_control_group_is_held_to_its_own_limit_and_to_those_of_the_groups_it_is_in(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="0::/system.slice/breakeven.service\n",
        **{
            "sys/fs/cgroup/system.slice/breakeven.service/memory.max": "8589934592\n",
            "sys/fs/cgroup/system.slice/memory.max": "max\n",
            "sys/fs/cgroup/memory.max": "4294967296\n",
        },
    )
    assert caps(root) == [8 * GIB, 4 * GIB]


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="4:cpu,memory:/box\n1:name=systemd:/\n0::/\n",
        **{"sys/fs/cgroup/memory/box/memory.limit_in_bytes": "2147483648\n"},
    )
    assert caps(root) == [2 * GIB]


def test_a_machine_without_them_has_no_such_limit(tmp_path: Path) -> None:
    assert caps(tmp_path) == []
    assert out_of_memory_kills(tmp_path) is None


def test_kills_for_want_of_memory_are_counted(tmp_path: Path) -> None:
    assert out_of_memory_kills(machine(tmp_path, proc__vmstat="nr_free_pages 5\noom_kill 3\n")) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="a GPU wires memory on macOS, whatever a process may take")
def test_a_limit_of_the_process_counts_where_it_is_less_than_the_machine_has() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    free = this_machine(gpu_layers=0)
    resource.setrlimit(resource.RLIMIT_DATA, (free.usable_bytes - GIB // 4, before[1]))
    try:
        limited = this_machine(gpu_layers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert (limited.usable_bytes, limited.source) == (free.usable_bytes - GIB // 4, "ulimit -d of this process")
