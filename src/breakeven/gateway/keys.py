"""The secret that a caller presents, and where the gateway may listen without asking for one."""

from __future__ import annotations

from collections.abc import Mapping

from breakeven.config.addresses import is_loopback
from breakeven.errors import ConfigError


def presented_secret(headers: Mapping[bytes, bytes]) -> str | None:
    """From ``Authorization: Bearer …`` or ``x-api-key``, where SDKs put it; ``None`` when there is neither."""
    given = headers.get(b"authorization")
    if given is not None and given[:7].lower() == b"bearer ":
        return given[7:].strip().decode("latin-1") or None
    key = headers.get(b"x-api-key")
    return key.decode("latin-1") if key else None


def require_key_beyond_loopback(host: str, keys: int) -> None:
    """Refuse to open the gateway to a network without a key.

    Raises:
        ConfigError: naming the host and the remedy.
    """
    if keys or is_loopback(host):
        return
    raise ConfigError(
        "gateway.host",
        host,
        "a loopback address, since there is no key",
        remedy="`breakeven keys create NAME` makes one; [keys.NAME] takes one from the environment.",
    )
