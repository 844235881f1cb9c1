"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Green is well, amber costs something, red does harm or does not work, unknown cannot be told here."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page.

    Attributes:
        check: what was looked at, a stable name.
        says: what was found, with its figures and its cause.
        remedy: what to do; empty when there is nothing to do.
    """

    check: str
    status: Status
    says: str
    remedy: str = ""


def green(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, Status.GREEN, says)


def amber(check: str, says: str, remedy: str) -> Finding:
    """It works and costs something."""
    return Finding(check, Status.AMBER, says, remedy)


def red(check: str, says: str, remedy: str) -> Finding:
    """It does harm or does not work."""
    return Finding(check, Status.RED, says, remedy)


def unknown(check: str, says: str, remedy: str = "") -> Finding:
    """It cannot be told here."""
    return Finding(check, Status.UNKNOWN, says, remedy)
