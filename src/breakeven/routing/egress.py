"""What lets a call's data leave the machine: the only place that mints clearances."""

from __future__ import annotations

from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import Clearance, Label
from breakeven.privacy.mint import clear


def clearance(call_id: str, label: Label, locality: Locality) -> Clearance | None:
    """The clearance that an attempt needs; ``None`` for one that stays on machines of the owner.

    Asked before each attempt, also for a retry, a fallback, a shadow or an embedding.

    Raises:
        DataStays: when the attempt would leave and the call's label does not allow it.
    """
    return None if locality == "local" else clear(call_id, label)
