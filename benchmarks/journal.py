"""What recording a call costs the hot path: encode, checksum, one write. Run: python benchmarks/journal.py"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from breakeven.config import LedgerSettings
from breakeven.ledger.journal import Journal
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.store import Store
from ledger import sample_call

ROUNDS = 5


def microseconds(count: int, act: object) -> float:
    assert callable(act)
    start = time.perf_counter()
    for number in range(count):
        act(number)
    return (time.perf_counter() - start) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; by default the temporary folder")
    options = parser.parse_args()
    calls = [sample_call(number) for number in range(options.count)]
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        journal = Journal(Path(home) / "journal-alone")
        record = b"x" * 700
        appends = [microseconds(options.count, lambda _: journal.append(record)) for _ in range(ROUNDS)]
        synchronous = Journal(Path(home) / "journal-sync", sync=True)
        synced = microseconds(200, lambda _: synchronous.append(record))
        Store.open(LedgerSettings(), Path(home)).close()
        ledger = Ledger.open(LedgerSettings(journal_max_bytes=2**31), Path(home))
        start = time.process_time()
        records = [microseconds(options.count, lambda number: ledger.record(calls[number])) for _ in range(ROUNDS)]
        ledger.flush(600)
        ledger.close()
        cpu = (time.process_time() - start) / options.count / ROUNDS * 1e6
    print(f"Journal.append, 700 bytes      {statistics.median(appends):8.1f} us")
    print(f"Journal.append with fsync      {synced:8.1f} us")
    print(f"Ledger.record, writer running  {statistics.median(records):8.1f} us wall on the caller's thread")
    print(f"Ledger.record, all told        {cpu:8.1f} us CPU, the writer's share included")


if __name__ == "__main__":
    main()
