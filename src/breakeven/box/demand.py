"""How much prompt the agents of the last day have, by the books."""

from __future__ import annotations

import logging
from pathlib import Path

from breakeven.box.cache_size import PromptDemand
from breakeven.config import LedgerSettings
from breakeven.errors import LedgerError
from breakeven.ledger.store import Store
from breakeven.units import Seconds

log = logging.getLogger(__name__)

DAY: Seconds = 86_400.0
READ_AT_ONCE: Seconds = 2.0


def read_demand(settings: LedgerSettings, home: Path, now: float, *, provider: str) -> PromptDemand:
    """Of the agents whose calls a provider served in the day before ``now`` (Unix seconds); none when the books cannot
    be read, which the log says.
    """
    store = Store.connect(settings, home, busy_seconds=READ_AT_ONCE)
    try:
        longest = store.longest_prompts(now - DAY, now, provider=provider)
    except LedgerError as error:
        log.warning("what the agents' prompts need is not known: %s", error)
        return PromptDemand()
    finally:
        store.close()
    return PromptDemand(len(longest), sum(longest.values()))
