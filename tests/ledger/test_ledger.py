"""What is recorded is kept: through a kill, a locked database, a full disk and impossible content."""

from __future__ import annotations

import json
import logging
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from tests.ledger.samples import NOVEMBER, call, local_attempt

from breakeven.config import LedgerSettings
from breakeven.errors import LedgerError, LedgerUnavailable
from breakeven.ledger.database import FILE_NAME
from breakeven.ledger.drain import DAMAGED, REJECTED, recover
from breakeven.ledger.journal import frame
from breakeven.ledger.ledger import JOURNAL_FOLDER, Ledger
from breakeven.ledger.records import Call, Money
from breakeven.ledger.store import Store

PATIENCE = 30.0
NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"


@pytest.fixture(autouse=True)
def impatient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database is given up on at once, so that the tests of it are quick."""
    monkeypatch.setattr("breakeven.ledger.ledger.BUSY_SECONDS", 0.02)


@contextmanager
def opened(settings: LedgerSettings, home: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(settings, home)
    try:
        yield ledger
    finally:
        ledger.close(timeout=0)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Another program that holds the database's write lock."""
    with closing(sqlite3.connect(home / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def booked(settings: LedgerSettings, home: Path) -> list[Call]:
    store = Store.open(settings, home)
    try:
        return list(store.calls(0, 4e9))
    finally:
        store.close()


def eventually(ledger: Ledger, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        ledger.flush(0.05)


def some_calls(count: int) -> list[Call]:
    return [call(f"call-{n:05}", at=NOVEMBER + n) for n in range(count)]


@pytest.mark.parametrize("durability", ["before_last_byte", "batched"])
def test_recorded_calls_reach_the_database(settings: LedgerSettings, tmp_path: Path, durability: str) -> None:
    settings = settings.model_copy(update={"durability": durability})
    calls = some_calls(1200)
    with opened(settings, tmp_path) as ledger:
        for one in calls:
            ledger.record(one)
        assert ledger.flush(PATIENCE)
        status = ledger.status()
        assert (status.accepting, status.journal_bytes_pending, status.records_in_memory) == (True, 0, 0)
        assert status.last_commit_at is not None
    assert booked(settings, tmp_path) == calls
    assert list((tmp_path / JOURNAL_FOLDER).iterdir()) == []


def test_an_orderly_close_writes_everything(tmp_path: Path) -> None:
    calls = some_calls(3)
    ledger = Ledger.open(LedgerSettings(durability="batched"), tmp_path)
    for one in calls:
        ledger.record(one)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.check()
    assert booked(LedgerSettings(), tmp_path) == calls


CHILD = """
import os, signal, sys
from pathlib import Path
import msgspec
from breakeven.config import LedgerSettings
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Call
sys.setswitchinterval(60)
calls = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Call])
ledger = Ledger.open(LedgerSettings(durability=sys.argv[2]), Path(sys.argv[1]))
for call in calls:
    ledger.record(call)
os.kill(os.getpid(), signal.SIGKILL)
"""


def booked_after_a_kill(home: Path, durability: str, calls: list[Call]) -> list[Call]:
    Store.open(LedgerSettings(), home).close()
    with locked(home):
        ended = subprocess.run([sys.executable, "-c", CHILD, str(home), durability], input=msgspec.json.encode(calls))
        assert ended.returncode < 0
    with opened(LedgerSettings(), home) as ledger:
        assert ledger.flush(PATIENCE)
    return booked(LedgerSettings(), home)


def test_a_kill_right_after_record_loses_nothing(tmp_path: Path) -> None:
    calls = some_calls(50)
    assert booked_after_a_kill(tmp_path, "before_last_byte", calls) == calls


def test_the_same_kill_loses_calls_when_the_guarantee_is_switched_off(tmp_path: Path) -> None:
    calls = some_calls(50)
    assert len(booked_after_a_kill(tmp_path, "batched", calls)) < len(calls)


def test_a_record_committed_but_not_settled_before_the_kill_is_not_doubled(
    settings: LedgerSettings, tmp_path: Path
) -> None:
    calls = some_calls(5)
    store = Store.open(settings, tmp_path)
    store.insert(calls[:3])
    (tmp_path / JOURNAL_FOLDER).mkdir()
    lines = b"".join(frame(msgspec.json.encode(one)) for one in calls)
    (tmp_path / JOURNAL_FOLDER / "1.journal").write_bytes(lines)
    assert recover(tmp_path / JOURNAL_FOLDER, store) == 0
    store.close()
    assert booked(settings, tmp_path) == calls


def test_a_locked_database_delays_calls_and_loses_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = some_calls(20)
    with opened(LedgerSettings(), tmp_path) as ledger:
        with locked(tmp_path):
            for one in calls:
                ledger.record(one)
                ledger.check()
            eventually(ledger, lambda: ledger.status().database_error is not None)
            assert not ledger.flush(0.1)
            status = ledger.status()
            assert status.database_error is not None
            assert "locked" in status.database_error
            assert status.accepting
            assert status.journal_bytes_pending > 0
        assert ledger.flush(PATIENCE)
        assert ledger.status().database_error is None
    assert booked(LedgerSettings(), tmp_path) == calls
    loud = [record.levelno for record in caplog.records if record.name == "breakeven.ledger.ledger"]
    assert loud == [logging.ERROR, logging.WARNING]


def test_calls_are_refused_once_the_journal_is_as_long_as_allowed(tmp_path: Path) -> None:
    settings = LedgerSettings(journal_max_bytes=1024**2)
    sent: list[Call] = []
    with opened(settings, tmp_path) as ledger:
        with locked(tmp_path):
            for one in some_calls(10_000):
                try:
                    ledger.check()
                except LedgerUnavailable as refusal:
                    assert "1048576" in str(refusal)
                    break
                ledger.record(one)
                sent.append(one)
            assert 500 < len(sent) < 10_000
        assert ledger.flush(PATIENCE)
        ledger.check()
    assert booked(settings, tmp_path) == sent


def test_a_database_that_is_down_at_the_start_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    calls = some_calls(3)
    with opened(LedgerSettings(url=NOWHERE), tmp_path) as ledger:
        for one in calls:
            ledger.check()
            ledger.record(one)
        assert ledger.status().database_error is not None
    with opened(LedgerSettings(), tmp_path) as ledger:
        assert ledger.flush(PATIENCE)
    assert booked(LedgerSettings(), tmp_path) == calls


def test_a_full_disk_refuses_calls_until_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, during, after = some_calls(3)
    with opened(LedgerSettings(), tmp_path) as ledger:
        ledger.record(before)
        assert ledger.flush(PATIENCE)
        with full_disk():
            with pytest.raises(LedgerUnavailable, match="journal cannot be written"):
                ledger.record(during)
            with pytest.raises(LedgerUnavailable, match="journal cannot be written"):
                ledger.check()
            assert not ledger.status().accepting
        eventually(ledger, lambda: ledger.status().accepting)
        ledger.record(after)
        assert ledger.flush(PATIENCE)
    assert booked(LedgerSettings(), tmp_path) == [before, msgspec.structs.replace(during, outcome="failed"), after]
    messages = [record.message for record in caplog.records if "journal" in record.message]
    assert ["cannot be written" in messages[0], messages[1:]] == [True, ["the journal can be written again"]]


def test_a_full_disk_spools_calls_in_memory_up_to_the_limit(tmp_path: Path) -> None:
    settings = LedgerSettings(on_journal_failure="spool", spool_max_records=5)
    calls = some_calls(6)
    with opened(settings, tmp_path) as ledger:
        with full_disk():
            for one in calls[:5]:
                ledger.check()
                ledger.record(one)
            with pytest.raises(LedgerUnavailable, match="spool_max_records = 5"):
                ledger.check()
            with pytest.raises(LedgerUnavailable, match="spool_max_records = 5"):
                ledger.record(calls[5])
            assert ledger.status().records_in_memory == 5
        assert ledger.flush(PATIENCE)
        ledger.check()
    assert booked(settings, tmp_path) == calls[:5]


@pytest.mark.postgres
def test_spooled_calls_go_straight_to_a_database_elsewhere(postgres_url: str, tmp_path: Path) -> None:
    settings = LedgerSettings(url=postgres_url, on_journal_failure="spool")
    calls = some_calls(3)
    with opened(settings, tmp_path) as ledger, full_disk():
        for one in calls:
            ledger.record(one)
        assert ledger.flush(PATIENCE)
        assert ledger.status().journal_error is not None
    assert booked(settings, tmp_path) == calls


def test_impossible_content_is_set_aside_and_blocks_nobody(
    settings: LedgerSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = some_calls(4)
    impossible = call("bad", local_attempt(money=Money(billed=Decimal("Infinity"))))
    with opened(settings, tmp_path) as ledger:
        for one in (*good[:2], impossible, *good[2:]):
            ledger.record(one)
        assert ledger.flush(PATIENCE)
    assert booked(settings, tmp_path) == good
    (line,) = (tmp_path / JOURNAL_FOLDER / REJECTED).read_text().splitlines()
    assert json.loads(json.loads(line)["record"])["id"] == "bad"
    assert "Infinity" in json.loads(line)["reason"]
    assert [record.levelno for record in caplog.records if "set aside" in record.message] == [logging.ERROR]


def test_damaged_lines_are_set_aside_and_the_rest_recovered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = some_calls(2)
    torn = frame(msgspec.json.encode(call("torn")))[:-20]
    folder = tmp_path / JOURNAL_FOLDER
    folder.mkdir()
    content = frame(msgspec.json.encode(first)) + b"rubbish\n" + frame(msgspec.json.encode(second)) + torn
    (folder / "1.journal").write_bytes(content)
    with opened(LedgerSettings(), tmp_path) as ledger:
        assert ledger.flush(PATIENCE)
    assert booked(LedgerSettings(), tmp_path) == [first, second]
    assert (folder / DAMAGED).read_bytes() == b"rubbish\n" + torn + b"\n"
    assert any("damaged" in record.message for record in caplog.records if record.levelno == logging.ERROR)


def test_records_of_another_version_are_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / JOURNAL_FOLDER
    folder.mkdir()
    (folder / "1.journal").write_bytes(frame(b'{"something":"else"}'))
    with opened(LedgerSettings(), tmp_path) as ledger:
        assert ledger.flush(PATIENCE)
    assert "something" in (folder / REJECTED).read_text()


def test_two_ledgers_share_a_home(tmp_path: Path) -> None:
    first, second = some_calls(2)
    with opened(LedgerSettings(), tmp_path) as one, opened(LedgerSettings(), tmp_path) as other:
        one.record(first)
        other.record(second)
        assert one.flush(PATIENCE)
        assert other.flush(PATIENCE)
    assert booked(LedgerSettings(), tmp_path) == [first, second]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_calls_are_refused_when_the_writer_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> int:
        raise RuntimeError("a bug")

    with opened(LedgerSettings(), tmp_path) as ledger:
        monkeypatch.setattr(Store, "insert", crash)
        ledger.record(call())
        assert not ledger.flush(PATIENCE)
        with pytest.raises(LedgerUnavailable, match="writer has stopped"):
            ledger.check()


def test_a_home_that_cannot_be_written_is_reported_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(LedgerSettings(), tmp_path / "home")


def test_recovery_reports_what_a_living_process_has_not_written_yet(tmp_path: Path) -> None:
    with opened(LedgerSettings(), tmp_path) as ledger, locked(tmp_path):
        ledger.record(call())
        store = Store.open(LedgerSettings(), tmp_path)
        assert recover(tmp_path / JOURNAL_FOLDER, store) == ledger.status().journal_bytes_pending > 0
        store.close()
