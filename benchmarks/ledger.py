"""A million calls: time to insert, time and memory of a month's statement. Run: python benchmarks/ledger.py"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from breakeven.config import LedgerSettings
from breakeven.economics.local import BoxCost
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Attempt, Call, Durations, Money, PriceProvenance
from breakeven.ledger.statement import Month, compute
from breakeven.ledger.store import Store

NOVEMBER = 1793491200.0
MONTH_SECONDS = 30 * 86_400
PRICE = PriceProvenance("genai-prices 0.2.3", "2026-06-01", "0123abcd")
MODELS = ("llama-3.3-70b", "qwen3-32b", "gpt-6-luna", "claude-haiku-5-5")
BOX = BoxCost(Decimal(6000), 36, Decimal(10), Decimal(145), Decimal("0.17"))


def sample_call(number: int, total: int = 1_000_000, *, ordered: bool = False) -> Call:
    at = NOVEMBER + number * MONTH_SECONDS / total
    local = number % 5 != 0
    attempt = Attempt(
        number=1,
        provider="engine" if local else "openai",
        locality="local" if local else "remote",
        model_asked=MODELS[number % 4],
        started_at=at,
        durations=Durations(total=1.5, queue=0.01, prefill=0.25, decode=1.2, first_token=0.3),
        outcome="completed",
        counted_by="engine" if local else "provider",
        reason="the only provider of this model",
        tokens=TokenCounts(uncached_input=1000 + number % 999, cache_read=200, output=150),
        box_seconds=1.25 if local else None,
        watt_hours=0.046875 if local else None,
        power_meter="modelled" if local else None,
        money=Money(
            billed=Decimal(0) if local else Decimal("0.0041") + Decimal(number).scaleb(-12),
            marginal_energy=Decimal("0.00000796875") if local else None,
            idle_share=Decimal("0.00000059027777777") if local else None,
            amortisation_share=Decimal("0.00007927447995941") if local else None,
            counterfactual=Decimal("0.0035") + Decimal(number).scaleb(-12),
        ),
        price=None if local else PRICE,
        reference_model="anthropic/claude-sonnet-5-5",
        reference_price=PRICE,
    )
    return Call(
        id=f"call_{number if ordered else number * 2654435761 % 2**32:08x}_{number}",
        received_at=at,
        endpoint="/v1/chat/completions",
        model=attempt.model_asked,
        stream=True,
        outcome="completed",
        attempts=(attempt,),
        agent=f"agent-{number % 31}",
    )


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--ordered", action="store_true", help="ids that rise with time, which spare the index")
    parser.add_argument("--url", default=None, help="database; by default a SQLite file in the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        store = Store.open(LedgerSettings(url=options.url), Path(home))
        spent = cpu = 0.0
        for first in range(0, options.count, options.batch):
            stop = min(first + options.batch, options.count)
            batch = [sample_call(number, options.count, ordered=options.ordered) for number in range(first, stop)]
            start, cpu_start = time.perf_counter(), time.process_time()
            store.insert(batch)
            spent += time.perf_counter() - start
            cpu += time.process_time() - cpu_start
        inserted = peak_mb()
        start = time.perf_counter()
        assert store.insert(batch) == 0
        again = time.perf_counter() - start
        month = Month(2026, 11)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            statement = compute(month, *store.daily(month.since, month.until), BOX)
            times.append(time.perf_counter() - start)
        assert statement is not None
        assert statement.calls.total == options.count
        size = sum(file.stat().st_size for file in Path(home).rglob("*") if file.is_file())
        store.close()
    print(f"insert {options.count:,} calls      {spent:8.1f} s   {options.count / spent:,.0f} calls/s")
    print(f"  of it CPU of this process {cpu:8.1f} s   {cpu / options.count * 1e6:.0f} us a call")
    print(f"the last {options.batch:,} again     {again * 1000:8.1f} ms  changes nothing")
    print(f"statement of the month      {sorted(times)[2] * 1000:8.1f} ms  median of 5")
    print(f"peak memory                 {inserted:8.1f} MB")
    print(f"on disk                     {size / 1e6:8.1f} MB  {size / options.count:.0f} bytes a call")


if __name__ == "__main__":
    main()
