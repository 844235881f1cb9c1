"""The reference of scenario files, written from their own types."""

from __future__ import annotations

import sys

from breakeven.config.reference import reference
from breakeven.planning.scenario import Scenario

HEADER = """# Scenario reference

One TOML file for `breakeven plan FILE`; every key has a default, and any key can be set on the command line with
`--set section.key=value`. A box or reference model of the configuration counts where the scenario names none. A wrong
value is refused with its key and the range allowed.

This page is generated from the scenario's types; a test keeps it in step.
"""


def page() -> str:
    """The page as Markdown."""
    return reference(Scenario, HEADER)


if __name__ == "__main__":
    sys.stdout.write(page())
