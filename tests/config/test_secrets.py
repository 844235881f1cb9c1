"""Where secrets come from, and what is said when they are not there."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend

from breakeven.config.secrets import read_secret
from breakeven.errors import InputError


class Memory(KeyringBackend):
    """A keychain that holds one entry."""

    priority = 1.0

    def get_password(self, service: str, username: str) -> str | None:
        return "sk-kept" if (service, username) == ("breakeven", "claude") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture
def keychain() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    yield
    keyring.set_keyring(before)


def test_a_variable_of_the_environment() -> None:
    assert read_secret("providers.p.key", "env:A", {"A": "sk-1"}) == "sk-1"
    with pytest.raises(InputError, match="export A="):
        read_secret("providers.p.key", "env:A", {"A": ""})


@pytest.mark.usefixtures("keychain")
def test_an_entry_of_the_keychain() -> None:
    assert read_secret("providers.p.key", "keychain:breakeven/claude", {}) == "sk-kept"
    with pytest.raises(InputError, match="keyring set breakeven gpt"):
        read_secret("providers.p.key", "keychain:breakeven/gpt", {})
