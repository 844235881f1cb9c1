"""A month of calls repriced with three models: by the sums of each tier, and one by one.

python benchmarks/reprice.py [--count 1000000]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from breakeven.catalog.prices import open_book
from breakeven.config import LedgerSettings
from breakeven.economics.rates import price_call
from breakeven.ledger.store import Store
from breakeven.planning.reprice import Period, Target, reprice
from ledger import MONTH_SECONDS, NOVEMBER, sample_call

MODELS = ("anthropic/claude-sonnet-5-5", "anthropic/claude-haiku-5-5", "openai/gpt-6-luna")
SINCE, UNTIL = NOVEMBER, NOVEMBER + MONTH_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="a folder whose ledger is filled already, and is left as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(LedgerSettings(), options.home or Path(folder))
        if options.home is None:
            for start in range(0, options.count, 5000):
                store.insert([sample_call(number, options.count) for number in range(start, start + 5000)])
        measure(store)
        store.close()


def measure(store: Store) -> None:
    book = open_book({}, None)
    book.warm()
    targets = tuple(Target(*name.split("/", 1)) for name in MODELS)
    period = Period(datetime.fromtimestamp(SINCE, UTC), datetime.fromtimestamp(UNTIL, UTC))
    wall, work = time.perf_counter(), time.process_time()
    done = reprice(store.usage(SINCE, UNTIL), (), targets, book, period)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    calls = sum(row.calls for row in done.servers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"{calls:,} calls with {len(targets)} models: {wall:.1f} s ({work:.1f} s of processor), peak {peak:.0f} MB")

    share = SINCE + (UNTIL - SINCE) / 20
    since = time.process_time()
    few = reprice(store.usage(SINCE, share), (), targets, book, period)
    at_once = time.process_time() - since
    since = time.process_time()
    sums = dict.fromkeys(MODELS, Decimal(0))
    count = 0
    for call in store.calls(SINCE, share):
        tokens = call.attempts[-1].tokens
        count += 1
        for name in MODELS:
            row = book.find(*name.split("/", 1), at=datetime.fromtimestamp(call.received_at, UTC))
            price = price_call(tokens, row.rates) if row is not None and tokens is not None else None
            sums[name] += Decimal(0) if price is None else price.total
    one_by_one = time.process_time() - since
    same = all(total.usd == sums[total.target] for total in few.totals)
    print(f"{count:,} of them: one by one {one_by_one / at_once:.1f} × as long; sums {'equal' if same else 'DIFFER'}")


if __name__ == "__main__":
    main()
