"""Where clearances are made. Import contracts let ``routing`` alone import this module."""

from __future__ import annotations

from breakeven.errors import DataStays
from breakeven.privacy.clearance import Clearance, Label
from breakeven.privacy.seal import SEAL


def clear(call_id: str, label: Label) -> Clearance:
    """The clearance of a call whose data may be shared.

    Raises:
        DataStays: for any other label.
    """
    if label != "shareable":
        raise DataStays(f"call {call_id}: its data is labelled {label}", remedy="It is served on this machine or not.")
    return Clearance(call_id, SEAL)
