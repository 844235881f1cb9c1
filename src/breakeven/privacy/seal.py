"""What tells a clearance that was minted from one made by hand. Import contracts keep it within this room."""

from __future__ import annotations

from typing import Final

SEAL: Final = object()
