"""Breakers of several gateways on one database: what one found out, the others need not."""

from __future__ import annotations

import asyncio
import time

from breakeven.accounts.verdicts import Verdict, VerdictBoard
from breakeven.routing.breaker import Breakers, Target

CLOSED_SECONDS = 60.0
"""How long the news that a target answers again stays on the board."""
EXCHANGE_SECONDS = 1.0


class Board:
    """Tells the others, and takes over what they tell."""

    def __init__(self, board: VerdictBoard) -> None:
        self._board = board
        self._adopted: dict[Target, Verdict] = {}

    def opened(self, target: Target, seconds: float) -> None:
        """The target failed repeatedly here and is left alone for so long."""
        self._board.publish(Verdict(*target, "open", time.time() + seconds))

    def closed(self, target: Target) -> None:
        """The target answers again."""
        self._board.publish(Verdict(*target, "closed", time.time() + CLOSED_SECONDS))

    async def exchange(self, breakers: Breakers) -> None:
        """Take over verdicts of others for as long as the gateway runs."""
        while True:
            await asyncio.sleep(EXCHANGE_SECONDS)
            self.adopt(breakers)

    def adopt(self, breakers: Breakers) -> None:
        """Take over each verdict of others once."""
        others = self._board.of_others()
        for target, verdict in others.items():
            if self._adopted.get(target) != verdict:
                breakers.adopt(target, verdict.until - time.time() if verdict.state == "open" else None)
        self._adopted = dict(others)
