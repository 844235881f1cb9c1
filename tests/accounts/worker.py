"""A gateway's accounts in a process of their own: ``python -m tests.accounts.worker URL HOME TASK [ARGUMENT]``.

It says a line when it gets somewhere, and goes on when it is told a line.
"""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

from breakeven import config
from breakeven.accounts.accounts import Accounts, open_accounts
from breakeven.accounts.answers import Answer, fingerprint
from breakeven.accounts.budget import Spender
from breakeven.accounts.idempotency import Lease
from breakeven.errors import BudgetExhausted, Unauthorized
from breakeven.ledger.ledger import Ledger

DOCUMENT = {"budgets": {"cloud": {"usd": "1.00", "per": "total"}, "tagging": {"usd": "1.00", "per": "total"}}}
SPENDER = Spender("desk", "tag", "triage", "openai", "gpt-6")
BOUND, ACTUAL = Decimal("0.03"), Decimal("0.0123456789")
BODY = fingerprint(b"body")
ANSWER = Answer(200, (("content-type", "application/json"),), b'{"by": "the worker"}')


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def heard() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def spend(accounts: Accounts, _argument: str) -> None:
    """200 calls at once."""

    async def call() -> Decimal:
        try:
            reservation = await accounts.reserve(SPENDER, BOUND)
        except BudgetExhausted:
            return Decimal(0)
        await accounts.settle(reservation, ACTUAL)
        return ACTUAL

    say("ready")
    await heard()
    say(sum(await asyncio.gather(*(call() for _ in range(200)))))


async def identify(accounts: Accounts, secret: str) -> None:
    """Say when a key is let in, and when no more."""
    say(accounts.identify(secret).name)
    while True:
        try:
            accounts.identify(secret)
        except Unauthorized:
            say("revoked")
            return
        await asyncio.sleep(0.01)


async def hold(accounts: Accounts, _argument: str) -> None:
    """Hold money and an idempotency key until told to finish."""
    reservation = await accounts.reserve(SPENDER, Decimal("0.9"))
    lease = await accounts.idempotency.begin("desk /v1/x", "k", BODY)
    assert isinstance(lease, Lease)
    say("holding")
    await heard()
    await lease.finish(ANSWER)
    await accounts.settle(reservation, Decimal("0.5"))


async def main(url: str, home: str, task: str, argument: str = "") -> None:
    settings = config.parse({**DOCUMENT, "ledger": {"url": url}})
    ledger = Ledger.open(settings.ledger, Path(home))
    try:
        async with open_accounts(settings, Path(home), ledger, {}, poll_seconds=0.05) as accounts:
            await {"spend": spend, "identify": identify, "hold": hold}[task](accounts, argument)
    finally:
        ledger.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
