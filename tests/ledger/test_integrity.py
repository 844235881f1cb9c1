"""Whether the books are whole, on each kind of database."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.ledger import samples

from breakeven.config import LedgerSettings
from breakeven.errors import LedgerUnavailable
from breakeven.ledger import database
from breakeven.ledger.integrity import problems
from breakeven.ledger.store import Store


def fill(store: Store) -> None:
    escalated = samples.call("escalated", samples.local_attempt(), samples.remote_attempt(2))
    store.insert([samples.call("one", samples.local_attempt()), escalated])


def change(settings: LedgerSettings, home: Path, statement: str) -> None:
    engine = database.connect(settings, home)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_books_as_they_were_written_are_whole(store: Store, settings: LedgerSettings, tmp_path: Path) -> None:
    assert problems(settings, tmp_path) == ()
    fill(store)
    assert problems(settings, tmp_path) == ()


def test_a_call_taken_out_is_noticed(store: Store, settings: LedgerSettings, tmp_path: Path) -> None:
    fill(store)
    change(settings, tmp_path, "DELETE FROM attempts WHERE call_id = 'one'")
    change(settings, tmp_path, "DELETE FROM calls WHERE id = 'one'")
    assert problems(settings, tmp_path) == (
        "1 calls are kept and 2 were added up",
        "2 attempts are kept and 3 were added up",
    )


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    nowhere = LedgerSettings(url="postgresql+psycopg://desk@127.0.0.1:1/ledger")
    with pytest.raises(LedgerUnavailable, match="cannot be read"):
        problems(nowhere, tmp_path)


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    settings = LedgerSettings()
    with_calls = Store.open(settings, tmp_path)
    fill(with_calls)
    with_calls.close()
    file = tmp_path / database.FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    file.write_bytes(content)
    assert any("damaged" in problem for problem in problems(settings, tmp_path))
