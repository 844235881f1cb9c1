"""Secrets are read when they are needed, from the environment or the system's keychain, and from nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping

from breakeven.errors import InputError


def read_secret(key: str, reference: str, environment: Mapping[str, str] = os.environ) -> str:
    """The secret that a checked reference stands for, ``env:VARIABLE`` or ``keychain:SERVICE/NAME``.

    Args:
        key: the configuration's key that holds the reference, for the error.

    Raises:
        InputError: when there is no such secret; the message names where it was looked for, never a value.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "keychain":
        return _from_keychain(key, reference, *name.split("/", 1))
    secret = environment.get(name)
    if not secret:
        raise InputError(f"{key} = {reference!r}: the variable {name} is not set", remedy=f"export {name}=…")
    return secret


def _from_keychain(key: str, reference: str, service: str, name: str) -> str:
    try:
        import keyring  # noqa: PLC0415 - an optional extra
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"{key} = {reference!r}: the package keyring is not installed", remedy="pip install 'breakeven[keychain]'"
        ) from None
    try:
        secret = keyring.get_password(service, name)
    except KeyringError as error:
        raise InputError(f"{key} = {reference!r}: the keychain cannot be read: {error}") from error
    if not secret:
        raise InputError(
            f"{key} = {reference!r}: the keychain has no such entry", remedy=f"keyring set {service} {name}"
        )
    return secret
