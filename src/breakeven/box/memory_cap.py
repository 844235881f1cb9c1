"""What this process and its children may take of the memory, and whether the kernel has had to kill for want of it.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html. Limits of a process (``ulimit -v``, ``ulimit -d``)
hold for each child by itself, a control group for all of them together.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from breakeven.box.fit import Capacity


def memory_caps(root: Path = Path("/")) -> Iterator[Capacity]:
    """Every limit that is in force; none where there is none or none can be read."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  not on Windows

    for kind, name in ((resource.RLIMIT_AS, "-v"), (resource.RLIMIT_DATA, "-d")):
        if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
            yield Capacity(limit, f"ulimit {name} of this process")
    yield from _control_group_caps(root)


def out_of_memory_kills(root: Path = Path("/")) -> int | None:
    """Processes that the kernel has killed for want of memory since boot; ``None`` where it does not say."""
    try:
        text = (root / "proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _control_group_caps(root: Path) -> Iterator[Capacity]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            yield from _caps_upward(root / "sys/fs/cgroup", place, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _caps_upward(root / "sys/fs/cgroup/memory", place, "memory.limit_in_bytes")


def _caps_upward(top: Path, place: str, file: str) -> Iterator[Capacity]:
    """A group's limit and those of the groups that it is in."""
    inner = top / place.lstrip("/")
    for folder in (inner, *inner.parents):
        try:
            limit = (folder / file).read_text(encoding="ascii").strip()
        except OSError:
            limit = ""
        if limit.isdigit():  # not "max"
            yield Capacity(int(limit), f"{file} of its control group {folder}")
        if folder == top:
            return
