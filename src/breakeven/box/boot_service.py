"""Files by which the system starts breakeven at boot: a launchd agent on macOS, a systemd user unit on Linux. Pure."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from breakeven.errors import InputError

System: TypeAlias = Literal["launchd", "systemd"]
LABEL = "io.breakeven.gateway"
UNIT = "breakeven.service"
RESTART_SECONDS = 5


@dataclass(frozen=True, slots=True)
class BootService:
    """What the system is told.

    Attributes:
        path: where it looks for the file.
        text: the file.
        start / stop: the commands by which its user has it started now and at each boot, or no longer.
    """

    system: System
    path: Path
    text: str
    start: tuple[str, ...]
    stop: tuple[str, ...]


def system_of(platform: str) -> System:
    """The service manager of a platform (``sys.platform``).

    Raises:
        InputError: there is none that this knows.
    """
    if platform == "darwin":
        return "launchd"
    if platform == "linux":
        return "systemd"
    raise InputError(
        f"services can be installed on macOS and Linux, not on {platform}",
        remedy="Have your system run: breakeven serve",
    )


def boot_service(
    system: System, command: tuple[str, ...], *, home: Path, logs: Path, config: Path | None, user_id: int
) -> BootService:
    """The service that runs ``command`` (which is ``serve``) for its user.

    Args:
        home: of the user.
        logs: folder for what launchd collects; systemd has its journal.
        config: settings to serve with, absolute; ``None`` for those found by themselves.
    """
    serve = (*command, "serve", *(("--config", str(config)) if config is not None else ()))
    if system == "launchd":
        path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        return BootService(
            system,
            path,
            _plist(serve, logs),
            ("launchctl", "bootstrap", f"gui/{user_id}", str(path)),
            ("launchctl", "bootout", f"gui/{user_id}/{LABEL}"),
        )
    return BootService(
        system,
        home / ".config" / "systemd" / "user" / UNIT,
        _unit(serve),
        ("systemctl", "--user", "enable", "--now", UNIT),
        ("systemctl", "--user", "disable", "--now", UNIT),
    )


def _plist(serve: tuple[str, ...], logs: Path) -> str:
    document = {
        "Label": LABEL,
        "ProgramArguments": list(serve),
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": RESTART_SECONDS,
        "ProcessType": "Interactive",  # else macOS may put it on the slow cores
        "StandardOutPath": str(logs / "service.log"),
        "StandardErrorPath": str(logs / "service.log"),
    }
    return plistlib.dumps(document, sort_keys=False).decode()


def _unit(serve: tuple[str, ...]) -> str:
    return f"""[Unit]
Description=breakeven, local-first inference desk
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={" ".join(map(_quoted, serve))}
Restart=always
RestartSec={RESTART_SECONDS}
TimeoutStopSec=30
KillMode=mixed

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    """A word of a systemd command line: quoted where needed, percent signs doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word or any(c.isspace() for c in word) else word
