"""How much prompt the agents of the last day have, by the books."""

from __future__ import annotations

import logging
from pathlib import Path

from breakeven.box.books import reading
from breakeven.box.cache_size import PromptDemand
from breakeven.config import LedgerSettings
from breakeven.errors import LedgerError
from breakeven.units import Seconds

log = logging.getLogger(__name__)

DAY: Seconds = 86_400.0


def read_demand(settings: LedgerSettings, home: Path, now: float, *, provider: str) -> PromptDemand:
    """Of the agents whose calls a provider served in the day before ``now`` (Unix seconds); none when the books cannot
    be read, which the log says.
    """
    try:
        with reading(settings, home) as store:
            longest = store.longest_prompts(now - DAY, now, provider=provider)
    except LedgerError as error:
        log.warning("what the agents' prompts need is not known: %s", error)
        return PromptDemand()
    return PromptDemand(len(longest), sum(longest.values()))
