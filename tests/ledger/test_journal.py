"""The journal keeps every record it was given, and tells a damaged one from a good one."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import child

from breakeven.ledger.journal import Journal, Segment, frame, unframe

RECORDS = tuple(f'{{"id":{number}}}'.encode() for number in range(10))


def drained(journal: Journal, limit: int = 3) -> tuple[list[bytes], list[bytes]]:
    records: list[bytes] = []
    damaged: list[bytes] = []
    while (batch := journal.next_batch(limit)) is not None:
        records += batch.records
        damaged += batch.damaged
        journal.settle(batch)
    return records, damaged


def abandoned(folder: Path, content: bytes, name: str = "1") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.journal").write_bytes(content)


def test_records_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.append(record)
    assert drained(journal) == (list(RECORDS), [])
    assert journal.pending_bytes == 0


def test_unsettled_records_are_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"{}")
    assert journal.next_batch(1) == journal.next_batch(1)


def test_full_segments_are_deleted_once_settled_and_not_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=40)
    for record in RECORDS:
        journal.append(record)
    files = len(list(tmp_path.glob("*.journal")))
    assert files > 2
    batch = journal.next_batch(1)
    assert batch is not None
    journal.settle(batch)
    assert len(list(tmp_path.glob("*.journal"))) == files
    drained(journal)
    assert len(list(tmp_path.glob("*.journal"))) == 1
    journal.close()
    assert list(tmp_path.glob("*.journal")) == []


def test_a_settled_journal_takes_no_space(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"{}")
    drained(journal)
    assert [path.stat().st_size for path in tmp_path.glob("*.journal")] == [0]


def test_closing_leaves_what_is_unsettled_for_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for record in RECORDS:
        journal.append(record)
    journal.close()
    successor = Journal(tmp_path)
    assert successor.adopt() == sum(len(frame(record)) for record in RECORDS)
    assert drained(successor) == (list(RECORDS), [])


def test_adopted_segments_come_before_new_records(tmp_path: Path) -> None:
    abandoned(tmp_path, frame(b"older"), "1")
    abandoned(tmp_path, frame(b"old"), "2")
    journal = Journal(tmp_path)
    journal.append(b"new")
    journal.adopt()
    assert drained(journal) == ([b"older", b"old", b"new"], [])


def test_a_living_process_keeps_its_segment(tmp_path: Path) -> None:
    owner, other = Journal(tmp_path), Journal(tmp_path)
    owner.append(b"{}")
    assert other.adopt() == 0
    assert other.next_batch(1) is None
    assert other.pending_bytes_of_others() == len(frame(b"{}"))
    assert owner.pending_bytes_of_others() == 0


def test_two_processes_never_adopt_the_same_segment(tmp_path: Path) -> None:
    abandoned(tmp_path, frame(b"{}"))
    first, second = Journal(tmp_path), Journal(tmp_path)
    assert (first.adopt() > 0, second.adopt()) == (True, 0)


def test_a_segment_drained_by_another_between_listing_and_locking_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned(tmp_path, frame(b"{}"))
    path = tmp_path / "1.journal"
    real_open = os.open

    def open_then_lose(name: Path, flags: int) -> int:
        descriptor = real_open(name, flags)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose)
    assert Segment.adopt(path) is None


def test_empty_leftovers_are_removed(tmp_path: Path) -> None:
    abandoned(tmp_path, b"")
    assert Journal(tmp_path).adopt() == 0
    assert list(tmp_path.iterdir()) == []


@given(cut=st.integers(0, 10**6), flip=st.integers(0, 10**6))
def test_damage_costs_only_the_lines_it_touches(tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    content = bytearray(b"".join(frame(record) for record in RECORDS))
    content = content[: cut % len(content) + 1]
    content[flip % len(content)] ^= 0x20
    abandoned(folder, bytes(content))
    journal = Journal(folder)
    journal.adopt()
    records, damaged = drained(journal)
    journal.close()
    whole = content.count(b"\n")
    assert set(records) <= set(RECORDS)
    assert records == sorted(records, key=RECORDS.index)
    assert len(records) >= whole - 2
    assert sum(map(len, damaged)) <= 3 * len(frame(RECORDS[0]))


def test_a_torn_last_line_is_reported_and_the_rest_kept(tmp_path: Path) -> None:
    torn = frame(b'{"id":2}')[:-4]
    abandoned(tmp_path, frame(b'{"id":1}') + torn)
    journal = Journal(tmp_path)
    journal.adopt()
    assert drained(journal) == ([b'{"id":1}'], [torn])


def test_a_record_longer_than_the_read_buffer_comes_back_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    long = b"x" * 3_000_000
    journal.append(b"{}")
    journal.append(long)
    journal.append(b"{}")
    assert drained(journal) == ([b"{}", long, b"{}"], [])


@given(st.binary(max_size=200).filter(lambda record: b"\n" not in record))
def test_framing_round_trips(record: bytes) -> None:
    assert unframe(frame(record)[:-1]) == record


def test_probing_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"{}")
    journal.probe()
    assert drained(journal) == ([b"{}"], [])


def test_a_probe_that_was_killed_half_way_does_no_harm(tmp_path: Path) -> None:
    abandoned(tmp_path, frame(b"{}") + b"\n" * 65536)
    journal = Journal(tmp_path)
    journal.adopt()
    assert drained(journal) == ([b"{}"], [])
    assert list(tmp_path.glob("*.journal")) == []


def test_a_record_that_fits_only_in_part_is_taken_back_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"first")
    (path,) = tmp_path.glob("*.journal")
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="part of the record") as caught:
            journal.append(b"second")
        assert caught.value.errno == errno.ENOSPC
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    journal.append(b"third")
    assert drained(journal) == ([b"first", b"third"], [])


def test_synchronous_records_reach_the_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("breakeven.ledger.journal._sync", synced.append)
    Journal(tmp_path, sync=False).append(b"{}")
    assert synced == []
    Journal(tmp_path, sync=True).append(b"{}")
    assert len(synced) == 1


CHILD = """
import os, sys
from pathlib import Path
from breakeven.ledger.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    journal.append(b'{"id":%d}' % number)
    os.write(1, b"%d\\n" % number)
os.read(0, 1)
"""


def test_a_killed_process_loses_no_record_that_append_returned_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), "100"]
    with child.running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        for expected in range(100):
            assert int(child.line_of(writer, writer.stdout)) == expected
        assert Journal(tmp_path).adopt() == 0, "it is alive"
    journal = Journal(tmp_path)
    journal.adopt()
    assert drained(journal) == ([b'{"id":%d}' % number for number in range(100)], [])
