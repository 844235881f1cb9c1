"""``Idempotency-Key``: the same key within its time gets the stored answer, or waits for the call in flight.

Callers that send a key ask for their answer to be kept; for all others no content is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from breakeven.accounts.answers import Answer
from breakeven.errors import IdempotencyConflict, LedgerUnavailable, RequestError

log = logging.getLogger(__name__)

LONGEST_KEY = 255
POLL_SECONDS = 0.1
"""Between two looks at a call that another gateway has in flight."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a key names: it is the caller's own, and of one endpoint."""

    scope: str
    key: str

    def __post_init__(self) -> None:
        if not 0 < len(self.key) <= LONGEST_KEY or not self.key.isprintable():
            raise RequestError(
                f"Idempotency-Key of {len(self.key)} characters: expected 1 to {LONGEST_KEY} printable ones",
                remedy="A UUID will do.",
            )


class AnswerStore(Protocol):
    """Where claims and answers are kept. All methods raise ``LedgerUnavailable`` while the database is down."""

    async def claim(self, slot: Slot, fingerprint: str) -> str | Answer | None:
        """The lease on a slot if it is free now, the answer in it, or ``None`` while another gateway works on it.

        Raises:
            IdempotencyConflict: the slot belongs to another request.
            AnswerNotKept: it was answered at a length beyond what is kept.
        """
        ...

    async def keep(self, slot: Slot, lease: str, answer: Answer) -> None:
        """Put the answer into a slot."""
        ...

    async def free(self, slot: Slot, lease: str) -> None:
        """Give a slot up."""
        ...

    async def tick(self) -> None:
        """Drop what is too old or too much."""
        ...


@dataclass(eq=False, slots=True)
class Lease:
    """The right, and the duty, to answer a call: ends with ``finish`` or ``abandon``, of which the first counts.

    Attributes:
        done: the answer, or ``None`` when the call was abandoned.
    """

    slot: Slot
    fingerprint: str
    id: str
    owner: Idempotency
    done: asyncio.Future[Answer | None] = field(default_factory=asyncio.Future)

    async def finish(self, answer: Answer) -> None:
        """Keep the answer and hand it to those who wait for it."""
        await self.owner.end(self, answer)

    async def abandon(self) -> None:
        """Free the key: the call failed in a way that may be tried again. The first who waits takes over."""
        await self.owner.end(self, None)


class Idempotency:
    """Calls in flight in this process, and the store that all gateways share. To be used from one event loop."""

    def __init__(self, store: AnswerStore) -> None:
        self._store = store
        self._claims: dict[Slot, asyncio.Task[Lease | Answer | None]] = {}
        self._leases: dict[Slot, Lease] = {}
        self._unsaved: dict[str, tuple[Lease, Answer | None]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def begin(self, scope: str, key: str, fingerprint: str) -> Lease | Answer:
        """A lease for the caller who must do the work, or the answer that somebody else's work gave.

        Waits while the call is in flight, here or in another gateway, and takes over from one that died.

        Args:
            scope: whose key it is and for what, for instance the name of the caller's key and the endpoint.
            fingerprint: from ``answers.fingerprint``, of the body.

        Raises:
            RequestError: the key is empty or too long.
            IdempotencyConflict: the key was used for another request.
            AnswerNotKept: the answer was too long to be kept.
            LedgerUnavailable: nobody can tell whether the key was used.
        """
        slot = Slot(scope, key)
        while True:
            if (lease := self._leases.get(slot)) is not None:
                if lease.fingerprint != fingerprint:
                    raise conflict(slot)
                answer = await asyncio.shield(lease.done)
                if answer is not None:
                    return answer
            elif (claim := self._claims.get(slot)) is not None:
                await asyncio.wait([claim])
            else:
                claimed = await self._start_claim(slot, fingerprint)
                if claimed is not None:
                    return claimed
                await asyncio.sleep(POLL_SECONDS)

    async def end(self, lease: Lease, answer: Answer | None) -> None:
        """As ``Lease.finish`` and ``Lease.abandon``. While the database is down the answer is remembered, for as long
        as that takes; no new key is accepted in that time, so the calls in flight bound what is remembered."""
        if lease.done.done():
            return
        lease.done.set_result(answer)
        if answer is None:
            del self._leases[lease.slot]
        self._unsaved[lease.id] = lease, answer
        await asyncio.shield(self._start(self._save_or_defer(lease.id)))

    async def tick(self) -> None:
        """Upkeep, about once a second: save what could not be saved; raises ``LedgerUnavailable`` if it must wait."""
        for lease_id in list(self._unsaved):
            await self._save(lease_id)
        await self._store.tick()

    async def close(self) -> None:
        """Finish what is being saved."""
        if self._running:
            await asyncio.wait(self._running)
        if self._unsaved:
            log.error("%d answers to idempotent calls could not be kept: the database is down", len(self._unsaved))

    async def _start_claim(self, slot: Slot, fingerprint: str) -> Lease | Answer | None:
        claim = asyncio.create_task(self._claim(slot, fingerprint))
        self._claims[slot] = claim
        claim.add_done_callback(lambda _: self._claims.pop(slot))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            claim.add_done_callback(self._abandon_unasked)
            raise

    async def _claim(self, slot: Slot, fingerprint: str) -> Lease | Answer | None:
        claimed = await self._store.claim(slot, fingerprint)
        if not isinstance(claimed, str):
            return claimed
        lease = Lease(slot, fingerprint, claimed, self)
        self._leases[slot] = lease
        return lease

    def _abandon_unasked(self, claim: asyncio.Task[Lease | Answer | None]) -> None:
        """Free what was claimed for a caller who has left meanwhile."""
        if not claim.cancelled() and claim.exception() is None and isinstance(lease := claim.result(), Lease):
            self._start(lease.abandon())

    async def _save_or_defer(self, lease_id: str) -> None:
        try:
            await self._save(lease_id)
        except LedgerUnavailable as error:
            log.warning("%s; what became of an idempotent call is kept in memory until then", error.message)

    async def _save(self, lease_id: str) -> None:
        if lease_id not in self._unsaved:
            return
        lease, answer = self._unsaved[lease_id]
        if answer is None:
            await self._store.free(lease.slot, lease.id)
        else:
            await self._store.keep(lease.slot, lease.id, answer)
            if self._leases.get(lease.slot) is lease:
                del self._leases[lease.slot]
        self._unsaved.pop(lease_id, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def conflict(slot: Slot) -> IdempotencyConflict:
    """The error for a key that names another request already."""
    return IdempotencyConflict(
        f"the Idempotency-Key {slot.key!r} was used for another request", remedy="Send a new key with each new request."
    )
