"""Who is let in, and how soon a change of keys is seen."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from tests.accounts.conftest import SECRETS, Run

from breakeven import config
from breakeven.accounts.accounts import Accounts
from breakeven.accounts.budget import Spender
from breakeven.accounts.key_table import KeyTable, VirtualKey
from breakeven.accounts.keys import ANYONE, Caller, KeyRing, configured_callers, digest
from breakeven.accounts.tables import virtual_keys
from breakeven.errors import BudgetExhausted, InputError, LedgerUnavailable, Unauthorized


def test_without_any_key_everyone_on_this_machine_may_call(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        assert accounts.identify(None) == ANYONE
        assert accounts.identify("whatever") == ANYONE

    with_accounts({}, work)


def test_a_key_of_the_configuration_brings_its_labels(with_accounts: Run) -> None:
    async def work(accounts: Accounts) -> None:
        assert accounts.identify(SECRETS["DESK_KEY"]) == Caller("desk", agent="triage", data="local_only", rpm=5)
        for wrong in (None, "", "desk-secret-of-the-hous", "bk_unknown"):
            with pytest.raises(Unauthorized):
                accounts.identify(wrong)

    key = {"secret": "env:DESK_KEY", "agent": "triage", "data": "local_only", "rpm": 5}
    with_accounts({"keys": {"desk": key}}, work)


def test_a_key_made_rotated_and_revoked_is_seen_at_the_next_look(with_accounts: Run, engine: Engine) -> None:
    async def work(accounts: Accounts) -> None:
        table = KeyTable(engine)
        secret = table.create(VirtualKey("night", task="tag", tpm=1000))
        await accounts.refresh()
        assert accounts.identify(secret) == Caller("night", task="tag", tpm=1000)
        rotated = table.rotate("night")
        await accounts.refresh()
        assert accounts.identify(rotated).name == "night"
        with pytest.raises(Unauthorized):
            accounts.identify(secret)
        table.revoke("night")
        await accounts.refresh()
        for gone in (rotated, secret, None):  # revoking the last key does not open the gateway
            with pytest.raises(Unauthorized):
                accounts.identify(gone)

    with_accounts({}, work)


def test_a_running_gateway_looks_by_itself(with_accounts: Run, engine: Engine) -> None:
    async def work(accounts: Accounts) -> None:
        secret = KeyTable(engine).create(VirtualKey("night"))
        stop = asyncio.Event()
        watching = asyncio.create_task(accounts.watch(stop, seconds=0.01))
        async with asyncio.timeout(10):
            while accounts.identify(secret) == ANYONE:
                await asyncio.sleep(0.01)
        stop.set()
        await watching
        assert accounts.identify(secret).name == "night"

    with_accounts({}, work)


def test_an_expired_key_opens_no_more(with_accounts: Run, engine: Engine) -> None:
    async def work(accounts: Accounts) -> None:
        past = KeyTable(engine).create(VirtualKey("past", expires_at=1.0))
        later = KeyTable(engine).create(VirtualKey("later", expires_at=4e9))
        await accounts.refresh()
        assert accounts.identify(later).name == "later"
        with pytest.raises(Unauthorized, match="'past' has expired"):
            accounts.identify(past)

    with_accounts({}, work)


def test_the_database_holds_no_secret(engine: Engine) -> None:
    secret = KeyTable(engine).create(VirtualKey("night"))
    assert secret.startswith("bk_")
    assert len(secret) >= 43
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(virtual_keys)).mappings()
    assert row["digest"] == digest(secret).hex()
    assert secret not in str(dict(row))


def test_names_are_unique_for_good_and_unknown_ones_are_named(engine: Engine) -> None:
    table = KeyTable(engine)
    table.create(VirtualKey("night"))
    table.revoke("night")
    with pytest.raises(InputError, match="exists already"):
        table.create(VirtualKey("night"))
    for change in (table.revoke, table.rotate):
        with pytest.raises(InputError, match="no such key"):
            change("night")
    assert [key.state(0) for key in table.list()] == ["revoked"]


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 64, "ключ"])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(InputError, match="a name has"):
        KeyTable(sa.create_engine("sqlite://")).create(VirtualKey(name))


def test_a_stored_key_brings_its_budget(with_accounts: Run, engine: Engine) -> None:
    async def work(accounts: Accounts) -> None:
        KeyTable(engine).create(VirtualKey("night", budget="$1/day"))
        await accounts.refresh()
        spender = Spender("night", None, None, "cloud", "large")
        assert accounts.left(spender) == 1
        with pytest.raises(BudgetExhausted, match=r"keys\.night"):
            await accounts.reserve(spender, Decimal("1.01"))

    with_accounts({}, work)


def test_a_name_of_the_configuration_goes_before_one_of_the_database(with_accounts: Run, engine: Engine) -> None:
    async def work(accounts: Accounts) -> None:
        secret = KeyTable(engine).create(VirtualKey("desk"))
        await accounts.refresh()
        with pytest.raises(Unauthorized):
            accounts.identify(secret)

    with_accounts({"keys": {"desk": {"secret": "env:DESK_KEY"}}}, work)


def test_until_the_database_answers_only_keys_of_the_configuration_open(tmp_path: Path) -> None:
    settings = config.parse({"keys": {"desk": {"secret": "env:DESK_KEY"}}})
    ring = KeyRing(configured_callers(settings.keys, SECRETS), None)
    assert ring.identify(SECRETS["DESK_KEY"]).name == "desk"
    with pytest.raises(LedgerUnavailable):
        ring.identify("bk_perhaps")
    with pytest.raises(Unauthorized):
        KeyRing({}, None).identify(None)


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [("short", "shorter than 16"), ("the same for both", "the same secret as")],
)
def test_secrets_must_be_long_and_different(secret: str, complaint: str) -> None:
    settings = config.parse({"keys": {"desk": {"secret": "env:DESK_KEY"}, "lab": {"secret": "env:LAB_KEY"}}})
    with pytest.raises(InputError, match=complaint):
        configured_callers(settings.keys, {"DESK_KEY": secret, "LAB_KEY": secret})
