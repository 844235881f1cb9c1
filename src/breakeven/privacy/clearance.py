"""The label of a call's data, and the clearance that a provider outside the machine demands."""

from __future__ import annotations

from typing import Literal, TypeAlias

from breakeven.errors import DataStays
from breakeven.privacy.seal import SEAL

Label: TypeAlias = Literal["local_only", "shareable"]


class Clearance:
    """Permission for one call's data to leave the machine.

    Only ``privacy.mint`` makes one, and an import contract lets only the policy in ``routing`` near that. A remote
    provider sends nothing without it, whichever way a call took to get there: retry, fallback, embedding or shadow.

    Attributes:
        call_id: the call it was given for.
    """

    __slots__ = ("call_id",)

    def __init__(self, call_id: str, seal: object) -> None:
        if seal is not SEAL:
            raise DataStays(f"call {call_id}: a clearance that the policy did not give")
        self.call_id = call_id


def require(clearance: Clearance | None, provider: str) -> None:
    """Let a call through to a provider outside the machine.

    Raises:
        DataStays: when it carries no clearance.
    """
    if not isinstance(clearance, Clearance):
        raise DataStays(f"{provider} is outside this machine and the call carries no clearance for it")
