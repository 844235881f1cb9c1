"""Past calls at other prices: call by call, exact, and nothing recorded changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.samples import NOVEMBER, call, local_attempt, remote_attempt

from breakeven.catalog.prices import PriceRow, open_book
from breakeven.config import LedgerSettings
from breakeven.economics.rates import PriceRange, Rate, Rates, price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.ledger.records import Call, Money, UsageBucket
from breakeven.ledger.store import Store
from breakeven.planning.reprice import Period, Repriced, Repricing, Target, reprice

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = Period(SINCE, datetime(2026, 12, 1, tzinfo=UTC))
TIERED = Rates(
    input=Rate(Decimal("0.1"), ((100_000, Decimal("0.5")),)),
    output=Rate(Decimal("0.5"), ((100_000, Decimal("2.5")),)),
    cache_read=Rate(Decimal("0.01"), ((100_000, Decimal("0.05")),)),
)
DEARER = Rates(input=Rate(Decimal(1)), output=Rate(Decimal(5)))
TURN = SINCE + timedelta(days=14, hours=6)


class TwoPrices:
    """Haiku has tiers, and becomes dearer in the middle of the month; Sonnet never changes."""

    def find(self, provider: str, model: str, *, at: datetime, batch: bool = False) -> PriceRow | None:
        rates = {
            "anthropic/haiku": DEARER if at >= TURN else TIERED,
            "anthropic/sonnet": DEARER.scaled(Decimal(2)),
            "openai/gpt-6-2026-05": TIERED,
        }.get(f"{provider}/{model}")
        if rates is None or (batch and model != "sonnet"):
            return None
        rates = rates.scaled(Decimal("0.5")) if batch else rates
        return PriceRow(provider, model, rates, "fixed for tests", date(2026, 1, 1), "0" * 16)

    def changes_between(self, provider: str, model: str, since: datetime, until: datetime) -> list[datetime]:
        return [TURN] if model == "haiku" and since < TURN < until else []


HAIKU, SONNET = Target("anthropic", "haiku"), Target("anthropic", "sonnet")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One ledger for all; each test has an origin of its own."""
    opened = Store.open(LedgerSettings(), Path(tmp_path_factory.mktemp("ledger")))
    yield opened
    opened.close()


ORIGINS = count()


def repriced(
    store: Store, calls: list[Call], *targets: Target, buckets: tuple[UsageBucket, ...] = (), on: datetime | None = None
) -> Repricing:
    origin = f"test-{next(ORIGINS)}"
    for one in calls:
        store.insert([call(f"{origin}-{one.id}", *one.attempts, at=one.received_at, origin=origin)])
    since, until = MONTH.since.timestamp(), MONTH.until.timestamp()
    parts = store.usage(since, until, origin=origin)
    return reprice(parts, buckets, targets or (Target(),), TwoPrices(), MONTH, prices_on=on)


def only(done: Repricing) -> Repriced:
    ((target,),) = (row.targets for row in done.servers)
    return target


tokens = st.builds(
    TokenCounts,
    uncached_input=st.integers(0, 150_000),
    cache_read=st.integers(0, 50_000),
    output=st.integers(0, 2000),
    cache_known=st.booleans(),
)
attempts = st.builds(
    lambda tokens, billed, local: (local_attempt if local else remote_attempt)(
        tokens=tokens, money=Money(billed=billed), outcome="completed"
    ),
    st.none() | tokens,
    st.none() | st.decimals(0, 5, places=9),
    st.booleans(),
)
some_calls = st.lists(st.tuples(attempts, st.integers(0, 30 * 86_400 - 1)), max_size=15)


@given(some_calls)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_are_those_of_a_plain_loop_over_the_calls(store: Store, drawn: list[tuple[object, int]]) -> None:
    calls = [call(f"c{n}", attempt, at=NOVEMBER + at) for n, (attempt, at) in enumerate(drawn)]  # type: ignore[arg-type]
    done = repriced(store, calls, HAIKU, SONNET)

    for position, target in enumerate((HAIKU, SONNET)):
        usd = difference = Decimal(0)
        known = compared = 0
        for one in calls:
            attempt = one.attempts[-1]
            row = TwoPrices().find("anthropic", str(target.model), at=datetime.fromtimestamp(one.received_at, UTC))
            assert row is not None
            price = None if attempt.tokens is None else price_call(attempt.tokens, row.rates)
            if price is None:
                continue
            usd, known = usd + price.total, known + 1
            if attempt.money.billed is not None:
                difference, compared = difference + price.total - attempt.money.billed, compared + 1
        found = done.totals[position] if done.servers else Repriced(target.name)
        assert (found.usd, found.priced_calls) == (usd, known)
        assert (found.difference, found.compared_calls) == (difference, compared)
        assert found.priced_calls + found.ranged_calls + found.unknown_calls == len(calls)
        assert found.least <= found.most


def test_each_call_is_priced_in_its_own_tier_and_never_the_sum(store: Store) -> None:
    one = remote_attempt(tokens=TokenCounts(uncached_input=60_000, output=100))
    done = repriced(store, [call(f"{n}", one) for n in range(10)], HAIKU)

    assert only(done).usd == 10 * (Decimal("0.006") + Decimal("0.00005"))


def test_the_price_is_that_of_each_calls_own_time_unless_a_day_is_named(store: Store) -> None:
    one = remote_attempt(tokens=TokenCounts(uncached_input=10_000))
    before, after = (call(name, one, at=TURN.timestamp() + shift) for name, shift in (("a", -0.000001), ("b", 0)))

    assert only(repriced(store, [before, after], HAIKU)).usd == Decimal("0.001") + Decimal("0.01")
    assert only(repriced(store, [before, after], HAIKU, on=SINCE)).usd == Decimal("0.002")
    assert only(repriced(store, [before, after], HAIKU, on=TURN)).usd == Decimal("0.02")


def test_without_a_target_remote_attempts_are_priced_as_the_model_that_served_them(store: Store) -> None:
    counted = TokenCounts(uncached_input=1000, output=100)
    escalated = call("e", local_attempt(tokens=counted), remote_attempt(2, tokens=counted))
    done = repriced(store, [escalated])

    assert [row.served.model for row in done.servers] == ["gpt-6-2026-05"]
    assert only(done).usd == Decimal("0.00015")
    assert only(done).difference == Decimal("0.00015") - Decimal("0.0041")


def test_a_provider_may_have_another_name_in_the_price_book(store: Store) -> None:
    one = call("p", remote_attempt(provider="my-openai", tokens=TokenCounts(uncached_input=1000)))
    origin = f"test-{next(ORIGINS)}"
    store.insert([call(origin, *one.attempts, origin=origin)])

    def price(catalog: dict[str, str]) -> Repriced:
        parts = store.usage(NOVEMBER, NOVEMBER + 86_400, origin=origin)
        return only(reprice(parts, (), (Target(),), TwoPrices(), MONTH, catalog=catalog))

    assert price({"my-openai": "openai"}).usd == Decimal("0.0001")
    assert price({}).unknown_calls == 1


def test_with_a_target_the_answer_that_was_kept_is_priced_once_and_the_rest_is_said(store: Store) -> None:
    counted = TokenCounts(uncached_input=1000)
    twice = call("t", remote_attempt(tokens=counted, outcome="cut"), remote_attempt(2, tokens=counted))
    done = repriced(store, [twice], HAIKU)

    assert only(done).priced_calls == 1
    assert (done.not_kept_attempts, done.not_kept_billed) == (1, Decimal("0.0041"))


def test_calls_whose_cached_tokens_nobody_told_have_a_range(store: Store) -> None:
    untold = remote_attempt(tokens=TokenCounts(uncached_input=10_000, cache_known=False))
    found = only(repriced(store, [call("u", untold)], HAIKU))

    assert (found.priced_calls, found.ranged_calls, found.compared_calls) == (0, 1, 0)
    assert (found.least, found.most) == (Decimal("0.0001"), Decimal("0.001"))


def bucket(**changes: object) -> UsageBucket:
    fields: dict[str, object] = {
        "origin": "import:openai",
        "provider": "openai",
        "model": "gpt-6",
        "start": NOVEMBER,
        "end": NOVEMBER + 86_400,
        "tokens": TokenCounts(uncached_input=400_000),
        "requests": 10,
        "money": Money(billed_range=PriceRange(Decimal("0.01"), Decimal("0.2"))),
    }
    return UsageBucket(**fields | changes)  # type: ignore[arg-type]


def ranged(store: Store, *buckets: UsageBucket, target: Target = HAIKU) -> tuple[Decimal, Decimal, int]:
    (row,) = repriced(store, [], target, buckets=buckets).buckets
    (found,) = row.targets
    return found.least, found.most, found.unknown_buckets


def test_sums_of_calls_are_priced_from_the_lowest_to_the_highest_tier_they_can_reach(store: Store) -> None:
    assert ranged(store, bucket()) == (Decimal("0.04"), Decimal("0.2"), 0)
    assert ranged(store, bucket(tokens=TokenCounts(uncached_input=90_000))) == (Decimal("0.009"), Decimal("0.009"), 0)


def test_a_sum_over_a_change_of_price_holds_both_prices(store: Store) -> None:
    over = bucket(start=TURN.timestamp() - 60, end=TURN.timestamp() + 60)
    until = bucket(start=TURN.timestamp() - 60, end=TURN.timestamp())

    assert ranged(store, over) == (Decimal("0.04"), Decimal("0.4"), 0)
    assert ranged(store, until) == (Decimal("0.04"), Decimal("0.2"), 0)


def test_sums_in_the_batch_tier_are_priced_there_where_the_target_has_one(store: Store) -> None:
    assert ranged(store, bucket(batch=True), target=SONNET)[0] == Decimal("0.4")
    assert ranged(store, bucket(batch=True))[0] == Decimal("0.04")


def test_sums_without_tokens_or_price_are_counted_as_unknown(store: Store) -> None:
    assert ranged(store, bucket(tokens=None), bucket(variant="flex")) == (Decimal("0.04"), Decimal("0.2"), 1)
    assert ranged(store, bucket(), target=Target()) == (0, 0, 1)
    (row,) = repriced(store, [], HAIKU, buckets=(bucket(), bucket(requests=None, money=Money()))).buckets
    assert (row.requests, row.billed_least, row.billed_most, row.billed_unknown_buckets) == (
        None, Decimal("0.01"), Decimal("0.2"), 1,
    )  # fmt: skip


def test_nothing_recorded_changes(store: Store) -> None:
    origin = f"test-{next(ORIGINS)}"
    store.insert([call(origin, remote_attempt(), origin=origin)])
    before = list(store.calls(NOVEMBER, NOVEMBER + 1, origin=origin))
    reprice(store.usage(NOVEMBER, NOVEMBER + 1, origin=origin), (), (HAIKU,), TwoPrices(), MONTH)

    assert list(store.calls(NOVEMBER, NOVEMBER + 1, origin=origin)) == before


def test_the_price_book_says_when_its_prices_change() -> None:
    book = open_book({}, None)
    for provider in book.data.providers:
        for model in provider.models:
            if not isinstance(model.prices, list) or provider.find_model(model.id) is not model:
                continue
            moments = book.changes_between(provider.id, model.id, MONTH.since, MONTH.until)
            assert moments == sorted(moments)
            edges = [MONTH.since, *moments, MONTH.until]
            for start, end in pairwise(edges):
                inside = (start, start + (end - start) / 2, end - timedelta(microseconds=1))
                assert len({id(book.find(provider.id, model.id, at=at)) for at in inside}) == 1
