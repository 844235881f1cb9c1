"""The same key, the same answer, paid once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from breakeven import config
from breakeven.accounts import idempotency as module
from breakeven.accounts.answer_table import AnswerTable
from breakeven.accounts.answers import Answer, fingerprint
from breakeven.accounts.idempotency import Idempotency, Lease, Slot
from breakeven.errors import AnswerNotKept, IdempotencyConflict, LedgerUnavailable, RequestError

STREAM = Answer(200, (("content-type", "text/event-stream; charset=utf-8"),), b"data: {}\n\ndata: [DONE]\n\n")
BODY, OTHER_BODY = fingerprint(b"body"), fingerprint(b"other body")


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


Gateway = Callable[..., Idempotency]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(engine: Engine, clock: Clock) -> Gateway:
    """A gateway's idempotency by the name of its process; nobody is in ``processes``, so all others count as dead."""

    def make(process: str = "one", **settings: Any) -> Idempotency:
        return Idempotency(AnswerTable(engine, config.IdempotencySettings(**settings), process, clock))

    return make


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(limited())


async def lease_of(gateway: Idempotency, key: str = "k", body: str = BODY, scope: str = "desk /v1/x") -> Lease:
    began = await gateway.begin(scope, key, body)
    assert isinstance(began, Lease)
    return began


def test_an_answer_is_given_again_byte_for_byte_also_after_a_restart(gateway: Gateway) -> None:
    async def work() -> None:
        await (await lease_of(gateway())).finish(STREAM)
        again = await gateway("after a restart").begin("desk /v1/x", "k", BODY)
        assert again == STREAM
        assert isinstance(again, Answer)
        assert again.is_stream

    run(work)


def test_a_key_belongs_to_its_caller_and_endpoint(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway()
        await (await lease_of(one)).finish(STREAM)
        await lease_of(one, scope="lab /v1/x")
        await lease_of(one, scope="desk /v1/y")

    run(work)


def test_another_request_under_the_same_key_is_refused_in_flight_and_afterwards(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway()
        lease = await lease_of(one)
        with pytest.raises(IdempotencyConflict) as refused:
            await one.begin("desk /v1/x", "k", OTHER_BODY)
        assert refused.value.status == 422
        await lease.finish(STREAM)
        with pytest.raises(IdempotencyConflict):
            await one.begin("desk /v1/x", "k", OTHER_BODY)

    run(work)


def test_many_at_once_join_the_one_that_works(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway()
        worked = 0

        async def call() -> Answer:
            nonlocal worked
            began = await one.begin("desk /v1/x", "k", BODY)
            if isinstance(began, Answer):
                return began
            worked += 1
            await asyncio.sleep(0)
            await began.finish(STREAM)
            return STREAM

        assert await asyncio.gather(*(call() for _ in range(50))) == [STREAM] * 50
        assert worked == 1

    run(work)


def test_a_call_that_failed_frees_its_key_and_one_of_those_who_wait_takes_over(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway()
        first = await lease_of(one)
        waiting = [asyncio.create_task(one.begin("desk /v1/x", "k", BODY)) for _ in range(3)]
        await asyncio.sleep(0)
        await first.abandon()
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (taker,) = done
        lease = taker.result()
        assert isinstance(lease, Lease)
        await lease.finish(STREAM)
        assert [await task for task in pending] == [STREAM, STREAM]
        await first.finish(STREAM)  # too late: the first word of a lease counts

    run(work)


def test_a_caller_who_leaves_while_the_key_is_claimed_leaves_it_free(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway()
        leaving = asyncio.create_task(one.begin("desk /v1/x", "k", BODY))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await (await lease_of(one)).finish(STREAM)
        assert await one.begin("desk /v1/x", "k", BODY) == STREAM

    run(work)


def test_a_key_is_free_again_when_its_time_is_over(gateway: Gateway, clock: Clock) -> None:
    async def work() -> None:
        one = gateway(hours=1)
        await (await lease_of(one)).finish(STREAM)
        clock.now += 3600
        await (await lease_of(one, body=OTHER_BODY)).abandon()

    run(work)


def test_a_call_in_flight_at_a_dead_gateway_is_taken_over(gateway: Gateway) -> None:
    async def work() -> None:
        dead = await lease_of(gateway("dead"))
        living = gateway("living")
        await (await lease_of(living)).finish(STREAM)
        await dead.finish(Answer(200, (), b"of a gateway that was only slow"))
        assert await gateway("third").begin("desk /v1/x", "k", BODY) == STREAM

    run(work)


def test_too_long_an_answer_is_not_paid_for_again(gateway: Gateway) -> None:
    async def work() -> None:
        one = gateway(max_answer_bytes=1024)
        await (await lease_of(one)).finish(Answer(200, (), b"x" * 2000))
        with pytest.raises(AnswerNotKept) as refused:
            await one.begin("desk /v1/x", "k", BODY)
        assert refused.value.status == 409

    run(work)


def test_the_oldest_answers_go_when_there_are_too_many_bytes(gateway: Gateway, clock: Clock) -> None:
    async def work() -> None:
        one = gateway(max_bytes=2500)
        for key in ("first", "second", "third"):
            await (await lease_of(one, key)).finish(Answer(200, (), b"x" * 1000))
            clock.now += 1
        await one.tick()
        assert isinstance(await one.begin("desk /v1/x", "third", BODY), Answer)
        assert isinstance(await one.begin("desk /v1/x", "second", BODY), Answer)
        await lease_of(one, "first")

    run(work)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_is_short_and_printable(key: str) -> None:
    with pytest.raises(RequestError, match="Idempotency-Key of"):
        Slot("desk", key)


class DownStore:
    """A store whose database comes and goes."""

    def __init__(self) -> None:
        self.down = False
        self.kept: dict[Slot, Answer] = {}

    def check(self) -> None:
        if self.down:
            raise LedgerUnavailable("down")

    async def claim(self, slot: Slot, fingerprint: str) -> str | Answer | None:
        self.check()
        return self.kept.get(slot, "lease")

    async def keep(self, slot: Slot, lease: str, answer: Answer) -> None:
        self.check()
        self.kept[slot] = answer

    async def free(self, slot: Slot, lease: str) -> None:
        self.check()

    async def tick(self) -> None:
        self.check()


def test_an_answer_outlives_an_outage_and_no_new_key_is_taken_in_it() -> None:
    async def work() -> None:
        store = DownStore()
        gateway = Idempotency(store)
        lease = await lease_of(gateway)
        store.down = True
        await lease.finish(STREAM)
        assert await gateway.begin("desk /v1/x", "k", BODY) == STREAM
        with pytest.raises(LedgerUnavailable):
            await gateway.begin("desk /v1/x", "new", BODY)
        store.down = False
        await gateway.tick()
        assert list(store.kept.values()) == [STREAM]
        assert await gateway.begin("desk /v1/x", "k", BODY) == STREAM

    run(work)


def test_a_call_of_another_gateway_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)

    class BusyStore(DownStore):
        looks = 0

        async def claim(self, slot: Slot, fingerprint: str) -> str | Answer | None:
            self.looks += 1
            return STREAM if self.looks == 5 else None

    async def work() -> None:
        assert await Idempotency(BusyStore()).begin("desk /v1/x", "k", BODY) == STREAM

    run(work)
