"""Keys in the database: made, listed, revoked and rotated by commands, watched by running gateways."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from breakeven.accounts import keys
from breakeven.accounts.budget import parse_amount
from breakeven.accounts.tables import key_versions, virtual_keys
from breakeven.accounts.transactions import reporting_outages, writing
from breakeven.errors import InputError
from breakeven.ledger import database
from breakeven.privacy.clearance import Label

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """A key without its secret; fields as in ``Caller``.

    Attributes:
        created_at / revoked_at: Unix seconds.
        budget: its own, like ``$5/day``.
    """

    name: str
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    agent: str | None = None
    task: str | None = None
    data: Label | None = None
    rpm: int | None = None
    tpm: int | None = None
    budget: str | None = None

    def state(self, now: float) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def caller(self) -> keys.Caller:
        """Who calls with it."""
        return keys.Caller(self.name, self.agent, self.task, self.data, self.rpm, self.tpm, self.expires_at)


@dataclass(frozen=True, slots=True)
class StoredKeys:
    """All keys at one version.

    Attributes:
        version: counted up by every change.
        by_digest: those that are not revoked.
        ever: whether any key, revoked ones included, was ever made.
    """

    version: int
    by_digest: dict[bytes, VirtualKey]
    ever: bool


class KeyTable:
    """The table of keys. All methods raise ``LedgerUnavailable`` when the database does not answer."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def migrate(self) -> None:
        """Bring the database's schema up to date."""
        with reporting_outages():
            database.migrate(self._engine)

    def create(self, key: VirtualKey) -> str:
        """Keep a new key; returns its secret, which is kept nowhere.

        Raises:
            InputError: its name is taken or its budget is not one.
        """
        if not NAME.fullmatch(key.name):
            raise InputError(f"key {key.name!r}: a name has letters, digits, dots, dashes, at most 63")
        if key.budget is not None:
            parse_amount(key.budget)
        secret = keys.new_secret()
        row = {name: getattr(key, name) for name in VirtualKey.__slots__}
        row |= {"created_at": self._clock(), "digest": keys.digest(secret).hex()}
        try:
            with self._changing() as connection:
                connection.execute(virtual_keys.insert(), row)
        except IntegrityError as error:
            raise InputError(
                f"key {key.name!r} exists already",
                remedy=f"`breakeven keys rotate {key.name}` gives it a new secret; a revoked name stays taken.",
            ) from error
        return secret

    def revoke(self, name: str) -> None:
        """Close the gateway to a key for good.

        Raises:
            InputError: there is no such key that is not revoked.
        """
        with self._changing() as connection:
            self._update(connection, name, {"revoked_at": self._clock()})

    def rotate(self, name: str) -> str:
        """Give a key a new secret, which is returned; the old one opens no more. Errors as ``revoke``."""
        secret = keys.new_secret()
        with self._changing() as connection:
            self._update(connection, name, {"digest": keys.digest(secret).hex()})
        return secret

    def list(self) -> list[VirtualKey]:
        """All keys by name, revoked ones included."""
        with reporting_outages(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(virtual_keys).order_by(virtual_keys.c.name)).mappings().all()
        return [_key(dict(row)) for row in rows]

    def version(self) -> int:
        """Changes with every change of a key."""
        with reporting_outages(), self._engine.connect() as connection:
            return _version(connection)

    def load(self) -> StoredKeys:
        """All keys as they stand."""
        with reporting_outages(), self._engine.connect() as connection:
            version = _version(connection)  # before the rows: should they change in between, they are read again
            rows = [dict(row) for row in connection.execute(sa.select(virtual_keys)).mappings()]
        valid = {bytes.fromhex(row["digest"]): _key(row) for row in rows if row["revoked_at"] is None}
        return StoredKeys(version, valid, ever=bool(rows))

    def _update(self, connection: Connection, name: str, values: dict[str, object]) -> None:
        changed = connection.execute(
            virtual_keys.update()
            .where(virtual_keys.c.name == name, virtual_keys.c.revoked_at.is_(None))
            .values(**values)
        )
        if changed.rowcount != 1:
            known = sa.select(virtual_keys.c.name).where(virtual_keys.c.revoked_at.is_(None))
            active = ", ".join(sorted(connection.execute(known).scalars())) or "none"
            raise InputError(f"key {name!r}: no such key in the database", remedy=f"Active are: {active}.")

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        with reporting_outages(), writing(self._engine) as connection:
            yield connection
            connection.execute(key_versions.update().values(version=key_versions.c.version + 1))


def _version(connection: Connection) -> int:
    return int(connection.execute(sa.select(key_versions.c.version)).scalar_one())


def _key(row: dict[str, object]) -> VirtualKey:
    return VirtualKey(**{name: row[name] for name in VirtualKey.__slots__})  # type: ignore[arg-type]
