"""Who is calling: secrets held as digests, and what goes with each.

A secret made here is 256 random bits, so a plain SHA-256 of it is safe at rest: there is no dictionary to try, which is
what salts, peppers and slow hashes are for. Secrets from the environment are held as digests in memory only.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from breakeven.config import KeySettings
from breakeven.config.secrets import read_secret
from breakeven.errors import InputError, LedgerUnavailable, Unauthorized
from breakeven.privacy.clearance import Label

PREFIX = "bk_"
MIN_SECRET_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what is fixed for all its calls.

    Attributes:
        name: of its key, ``None`` when no key is needed.
        agent / task: labels that go before those a request declares.
        data: label of the data it sends, ``None`` when its requests say.
        rpm / tpm: most requests and tokens a minute.
        expires_at: Unix seconds from which its key no longer opens.
    """

    name: str | None
    agent: str | None = None
    task: str | None = None
    data: Label | None = None
    rpm: int | None = None
    tpm: int | None = None
    expires_at: float | None = None


ANYONE = Caller(None)


class KeyRing:
    """All keys that open the gateway; immutable, replaced whole when keys change.

    Attributes:
        is_open: whether anybody may call.

    Args:
        configured: callers of the configuration by the digest of their secret.
        stored: those of the database; ``None`` when it has not answered yet.
        demanded: whether a key is needed even though none is valid: one existed once.
    """

    def __init__(
        self, configured: Mapping[bytes, Caller], stored: Mapping[bytes, Caller] | None, *, demanded: bool = False
    ) -> None:
        self._callers = {**(stored or {}), **configured}
        self._known = stored is not None
        self.is_open = self._known and not self._callers and not demanded

    def __len__(self) -> int:
        return len(self._callers)

    def identify(self, secret: str | None, clock: Callable[[], float] = time.time) -> Caller:
        """The caller that a secret belongs to; anyone where no key was ever made.

        Raises:
            Unauthorized: the secret is missing, unknown, revoked or expired.
            LedgerUnavailable: it may be one of those in the database, which has not answered since the start.
        """
        if self.is_open:
            return ANYONE
        # Looking up a digest takes the same time whether or not a prefix of the secret is right.
        caller = self._callers.get(digest(secret)) if secret else None
        if caller is None:
            if secret and not self._known:
                raise LedgerUnavailable(
                    "keys cannot be checked: the database that keeps them has not answered yet",
                    remedy="Bring back the database, or use a key of the configuration file.",
                )
            raise _unauthorized("the API key is unknown or revoked" if secret else "no API key was given")
        if caller.expires_at is not None and caller.expires_at <= clock():
            raise _unauthorized(f"the API key {caller.name!r} has expired")
        return caller


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def new_secret() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def configured_callers(settings: Mapping[str, KeySettings], environment: Mapping[str, str]) -> dict[bytes, Caller]:
    """The callers of the configuration by digest.

    Raises:
        InputError: a secret is missing, too short, or belongs to two keys.
    """
    callers: dict[bytes, Caller] = {}
    for name, key in settings.items():
        secret = read_secret(f"keys.{name}.secret", key.secret, environment)
        if len(secret) < MIN_SECRET_LENGTH:
            raise InputError(
                f"keys.{name}.secret: the key in {key.secret} is shorter than {MIN_SECRET_LENGTH} characters",
                remedy="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one.",
            )
        caller = Caller(name, key.agent, key.task, key.data, key.rpm, key.tpm)
        other = callers.setdefault(digest(secret), caller)
        if other is not caller:
            raise InputError(f"keys.{name}.secret: the same secret as keys.{other.name}", remedy="Give each its own.")
    return callers


def names(callers: Iterable[Caller]) -> set[str]:
    """The names of these callers."""
    return {caller.name for caller in callers if caller.name is not None}


def _unauthorized(message: str) -> Unauthorized:
    return Unauthorized(
        message, remedy="Send a key as 'Authorization: Bearer KEY' (`breakeven keys create NAME` makes one)."
    )
