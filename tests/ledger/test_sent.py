"""What was sent and never recorded is booked by the next process; what was recorded is booked as it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.gateway.conftest import END_OF_TIME

from breakeven import config
from breakeven.errors import LedgerUnavailable
from breakeven.ledger.drain import recover
from breakeven.ledger.journal import Journal
from breakeven.ledger.ledger import JOURNAL_FOLDER, Ledger
from breakeven.ledger.records import Attempt, Call, Durations
from breakeven.ledger.sent import SEGMENT_BYTES, SUFFIX, SentNotes
from breakeven.ledger.store import Store

SETTINGS = config.LedgerSettings()


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def attempt(number: int, error: str | None = None) -> Attempt:
    outcome = "completed" if error is None else "cut"
    return Attempt(number, "sky", "remote", "m", 1.0, Durations(), outcome, "nobody", "test", error=error)  # type: ignore[arg-type]


def call(name: str, *attempts: Attempt) -> Call:
    return Call(name, 1.0, "/v1", "m", False, attempts[-1].outcome, attempts)


def die(ledger: Ledger) -> None:
    """Let go of all files as a killed process does."""
    ledger._closing = True
    ledger._wake.set()
    ledger._hurry.set()
    ledger._thread.join(30)
    for segment in ledger._journal._segments:
        segment.release()
    for notes, _ in ledger._sent._segments:
        notes.release()
    ledger._store.close()


def booked(home: Path) -> dict[str, Call]:
    store = Store.open(SETTINGS, home)
    try:
        return {found.id: found for found in store.calls(0, END_OF_TIME)}
    finally:
        store.close()


def leave_one_of_each(home: Path) -> None:
    """A process that dies with one call recorded, and one in the middle of its second attempt."""
    ledger = Ledger.open(SETTINGS, home)
    ledger.sending(call("recorded", attempt(1, "gateway_killed")))
    ledger.record(call("recorded", attempt(1)))
    ledger.sending(call("in the middle", attempt(1, "gateway_killed")))
    ledger.sending(call("in the middle", attempt(1, "timeout"), attempt(2, "gateway_killed")))
    die(ledger)


def expect_one_of_each(home: Path) -> None:
    calls = booked(home)
    assert [tried.error for tried in calls["recorded"].attempts] == [None]
    assert [tried.error for tried in calls["in the middle"].attempts] == ["timeout", "gateway_killed"]
    assert calls["in the middle"].attempts[-1].cost is None, "unknown, not nothing"
    assert not list((home / JOURNAL_FOLDER).glob(f"*{SUFFIX}"))


def test_the_next_gateway_books_what_was_under_way(tmp_path: Path) -> None:
    leave_one_of_each(tmp_path)
    ledger = Ledger.open(SETTINGS, tmp_path)
    assert ledger.flush(30)
    ledger.close()
    expect_one_of_each(tmp_path)


def test_a_full_disk_keeps_the_notes_for_the_start_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_one_of_each(tmp_path)

    with monkeypatch.context() as disk:
        disk.setattr(Journal, "append", full)
        Ledger.open(SETTINGS, tmp_path).close()
    Ledger.open(SETTINGS, tmp_path).close()
    expect_one_of_each(tmp_path)


def test_so_does_a_statement(tmp_path: Path) -> None:
    leave_one_of_each(tmp_path)
    store = Store.open(SETTINGS, tmp_path)
    assert recover(tmp_path / JOURNAL_FOLDER, store) == 0
    store.close()
    expect_one_of_each(tmp_path)


def test_what_a_living_gateway_has_under_way_is_left_alone(tmp_path: Path) -> None:
    living = Ledger.open(SETTINGS, tmp_path)
    living.sending(call("x", attempt(1, "gateway_killed")))
    other = Ledger.open(SETTINGS, tmp_path)
    assert other.flush(30)
    other.close()
    assert booked(tmp_path) == {}
    living.record(call("x", attempt(1)))
    living.close()
    assert [tried.error for tried in booked(tmp_path)["x"].attempts] == [None]


def test_notes_take_little_room_however_many_calls_there_are(tmp_path: Path) -> None:
    notes = SentNotes(tmp_path)
    record = msgspec.json.encode("x" * 64 * 1024)
    notes.note("kept", record)
    for number in range(3 * SEGMENT_BYTES // len(record)):
        notes.note(f"{number}", record)
        notes.forget(f"{number}")
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) <= 4
    notes.forget("kept")
    assert sum(path.stat().st_size for path in tmp_path.glob(f"*{SUFFIX}")) < SEGMENT_BYTES
    notes.close()
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_cannot_be_noted_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(SETTINGS, tmp_path)
    monkeypatch.setattr(SentNotes, "note", full)
    with pytest.raises(LedgerUnavailable, match="No space left"):
        ledger.sending(call("x", attempt(1, "gateway_killed")))
    ledger.close()
