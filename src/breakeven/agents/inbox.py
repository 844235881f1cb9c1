"""The queue as other programs fill it through the gateway, which knows neither the agents' folder nor their code: an
agent is known here once a worker has run it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from breakeven.agents import database, queue, runs
from breakeven.agents.queue import New
from breakeven.errors import AgentError, AgentNotFound, QueueUnavailable, Unsupported

THREADS = 2
"""Items of different requests at once; more would only queue up for the database's lock."""


class Inbox:
    """Takes items for the agents of a database, which is opened, and brought up to date, by the first item."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inbox-")
        self._opening = threading.Lock()
        self._open = False

    def close(self) -> None:
        """Let what is being put in be put in, and close the database."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.dispose()

    async def put(self, agent: str, items: Sequence[tuple[str | None, int, Any]]) -> int:
        """Put items (key, priority, payload) in, all or none, those whose key is known not. How many were new.

        Raises:
            AgentNotFound: no worker has run this agent on this database.
            Unsupported: the agent takes no items.
            QueueUnavailable: the database does not answer, or is of another version.
        """
        new = [New(payload, key, priority) for key, priority, payload in items]
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._put, agent, new)
        except DBAPIError as error:
            raise QueueUnavailable(
                f"the agents' database fails: {type(error.orig).__name__}", remedy="Send the items again, with keys."
            ) from error
        except AgentError as error:
            raise QueueUnavailable(error.message, remedy=error.remedy) from error

    def _put(self, agent: str, new: list[New]) -> int:
        self._ensure_open()
        with self._engine.begin() as connection:
            takers = runs.takers(connection)
            if agent not in takers:
                raise _unknown(agent, takers)
            if not takers[agent]:
                raise Unsupported(f"agent {agent!r} takes no items", remedy='Give it [source] with kind = "queue".')
            return queue.enqueue(connection, agent, new)

    def _ensure_open(self) -> None:
        with self._opening:
            if self._open:
                return
            url = self._engine.url
            if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
                raise _unknown(None, ())
            database.migrate(self._engine)
            self._open = True


def _unknown(agent: str | None, known: Iterable[str]) -> AgentNotFound:
    names = ", ".join(sorted(known))
    return AgentNotFound(
        "no agent has run here yet" if not names else f"no agent {agent!r} has run here",
        remedy=f"There are {names}; " * bool(names) + "`breakeven agents run` makes an agent known.",
    )
