"""Who is calling: the keys a caller may present, held only as digests."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping

from breakeven.config import GatewaySettings, KeySettings
from breakeven.config.secrets import read_secret
from breakeven.errors import ConfigError, InputError, Unauthorized
from breakeven.gateway.asgi import Scope, header

MIN_SECRET_LENGTH = 16


class Keys:
    """The keys that open the gateway; without any, everyone on this machine may call."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {_digest(secret): name for name, secret in secrets.items()}

    def identify(self, scope: Scope) -> str | None:
        """The name of the caller's key, ``None`` when no keys are configured.

        Raises:
            Unauthorized: when a key is required and the one given is missing or unknown.
        """
        if not self._names:
            return None
        given = header(scope, b"authorization")
        secret = given[7:].strip() if given and given[:7].lower() == "bearer " else header(scope, b"x-api-key")
        # Looking up a digest takes the same time whether or not a prefix of the secret is right.
        name = self._names.get(_digest(secret)) if secret else None
        if name is None:
            raise Unauthorized(
                "the API key is unknown" if secret else "no API key was given",
                remedy="Send one of the configured keys as 'Authorization: Bearer KEY'.",
            )
        return name


def load_keys(settings: Mapping[str, KeySettings], environment: Mapping[str, str]) -> Keys:
    """Read the secrets of all configured keys."""
    secrets = {}
    for name, key in settings.items():
        secret = read_secret(f"keys.{name}.secret", key.secret, environment)
        if len(secret) < MIN_SECRET_LENGTH:
            raise InputError(
                f"keys.{name}.secret: the key in {key.secret} is shorter than {MIN_SECRET_LENGTH} characters",
                remedy="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one.",
            )
        secrets[name] = secret
    return Keys(secrets)


def require_key_beyond_loopback(gateway: GatewaySettings, keys: Mapping[str, KeySettings]) -> None:
    """Refuse to open the gateway to a network without a key.

    Raises:
        ConfigError: naming the host and the remedy.
    """
    if keys or is_loopback(gateway.host):
        return
    raise ConfigError(
        "gateway.host",
        gateway.host,
        "a loopback address, since no key is configured",
        remedy='Add [keys.NAME] with secret = "env:VARIABLE" before binding to a network.',
    )


def is_loopback(host: str) -> bool:
    """Whether an address or name stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
