"""Usage column by column says what the records say."""

from decimal import Decimal

from tests.ledger.samples import DAY, NOVEMBER, call, local_attempt, remote_attempt

from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Money
from breakeven.ledger.store import Store
from breakeven.ledger.usage import UsagePart


def read(store: Store, since: float = NOVEMBER, until: float = NOVEMBER + 30 * DAY, **options: str) -> UsagePart:
    (part,) = store.usage(since, until, **options)
    return part


def test_every_attempt_has_its_server_tokens_and_bill(store: Store) -> None:
    thinking = TokenCounts(cache_write_5m=7, cache_write_1h=8, output=30, reasoning=20)
    store.insert(
        [
            call("a", local_attempt(), remote_attempt(2), at=NOVEMBER),
            call("b", remote_attempt(tokens=thinking, money=Money(billed=None)), at=NOVEMBER + 60),
        ]
    )
    part = read(store)
    rows = sorted(
        zip(part.at.tolist(), part.served.tolist(), part.kept.tolist(), part.tokens.counts(), part.billed, strict=True),
        key=lambda row: (row[0], row[2]),
    )

    assert [(row[2], row[4]) for row in rows] == [(False, Decimal(0)), (True, Decimal("0.0041")), (True, None)]
    assert [part.servers[row[1]].model for row in rows] == ["demo", "gpt-6-2026-05", "gpt-6-2026-05"]
    assert rows[0][3] == TokenCounts(uncached_input=1000, cache_read=200, output=300)
    assert rows[2][3] == thinking


def test_what_nobody_counted_is_told_apart_from_what_brought_nothing(store: Store) -> None:
    store.insert(
        [
            call("cut", remote_attempt(tokens=None, outcome="cut", counted_by="nobody")),
            call("failed", remote_attempt(tokens=None, outcome="failed", counted_by="nobody")),
            call("never", outcome="refused", attempts=()),
        ]
    )
    part = read(store)

    assert (len(part), part.counted.tolist()) == (1, [False])


def test_only_the_period_and_the_origin_asked_for(store: Store) -> None:
    store.insert(
        [
            call("before", remote_attempt(), at=NOVEMBER - 0.000001),
            call("first", remote_attempt(), at=NOVEMBER),
            call("imported", remote_attempt(), at=NOVEMBER + 5, origin="import:codex"),
            call("after", remote_attempt(), at=NOVEMBER + DAY),
        ]
    )

    assert sorted(read(store, until=NOVEMBER + DAY).at.tolist()) == [NOVEMBER, NOVEMBER + 5]
    assert read(store, origin="import:codex").at.tolist() == [NOVEMBER + 5]
    assert list(store.usage(0, 1)) == []


def test_times_keep_their_microseconds(store: Store) -> None:
    times = [NOVEMBER + fraction for fraction in (0.9996, 0.999999, 1.0, 59.9996)]
    store.insert([call(f"{at}", remote_attempt(), at=at) for at in times])

    assert sorted(read(store).at.tolist()) == [round(at, 6) for at in times]


def test_a_short_period_of_a_long_ledger_is_looked_up_call_by_call(store: Store) -> None:
    store.insert([call(f"{n}", local_attempt(), remote_attempt(2), at=NOVEMBER + n * DAY) for n in range(30)])
    part = read(store, since=NOVEMBER + 7 * DAY, until=NOVEMBER + 9 * DAY)

    assert sorted(zip(part.at.tolist(), part.kept.tolist(), strict=True)) == [
        (NOVEMBER + 7 * DAY, False),
        (NOVEMBER + 7 * DAY, True),
        (NOVEMBER + 8 * DAY, False),
        (NOVEMBER + 8 * DAY, True),
    ]
