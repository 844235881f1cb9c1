"""The same specification for SQLite and PostgreSQL."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.ledger.samples import DAY, LIST_PRICE, NOVEMBER, call, local_attempt, remote_attempt

import breakeven.accounts.tables  # registers its tables with the metadata
import breakeven.ledger.migrations
from breakeven.config import LedgerSettings
from breakeven.economics.rates import PriceRange
from breakeven.economics.tokens import TokenCounts
from breakeven.errors import ConfigError, LedgerError, RecordRejected
from breakeven.ledger import database, schema
from breakeven.ledger.paging import READ_PAGE
from breakeven.ledger.records import Call, Durations, Money, UsageBucket
from breakeven.ledger.rollup import DailyTotal, Rollup
from breakeven.ledger.store import Store

FIRST, LAST = date(2026, 11, 1), date(2026, 12, 1)


def all_calls(store: Store) -> list[Call]:
    return list(store.calls(0, 4e9))


def recomputed(calls: list[Call]) -> list[dict[str, object]]:
    return Rollup(calls).total_rows()


def stored(totals: list[DailyTotal]) -> list[dict[str, object]]:
    names = (*schema.TOTAL_KEY, "first_at", "last_at")
    return [{**{name: getattr(total, name) for name in names}, **total.counts, **total.sums} for total in totals]


def test_every_field_comes_back_as_it_was_written(store: Store) -> None:
    full = call("full", local_attempt(), remote_attempt(2, error="x"), key="desk", agent="tagger", task="tag")
    bare = call(
        "bare",
        local_attempt(tokens=None, money=Money(), reference_price=None, reference_model=None, power_meter=None),
        at=NOVEMBER + 1,
    )
    refused = Call("refused", NOVEMBER + 2, "/v1/chat/completions", "none", False, "refused", ())
    assert store.insert([full, bare, refused]) == 3
    assert all_calls(store) == [full, bare, refused]


def test_the_stretches_in_which_a_model_of_ones_own_was_asked_come_back_in_order(store: Store) -> None:
    model = local_attempt().model_asked
    times = [NOVEMBER + seconds for seconds in (7 * 3600 + 1, 599.9, 600, 3, 601)]
    store.insert([call(str(n), local_attempt(), at=at) for n, at in enumerate(times)])
    store.insert([call("cloud", remote_attempt(model_asked=model), at=NOVEMBER + 1800)])
    stretches = [NOVEMBER + seconds for seconds in (0, 600, 7 * 3600)]
    assert store.active_times(NOVEMBER, NOVEMBER + DAY, model=model) == stretches
    assert store.active_times(NOVEMBER + 3600, NOVEMBER + DAY, model=model) == stretches[2:]
    assert store.active_times(NOVEMBER, NOVEMBER + DAY, model="another") == []


def test_the_longest_prompt_of_each_agent_counts_answers_and_cached_tokens(store: Store) -> None:
    def served(name: str, agent: str | None, **tokens: int) -> Call:
        return call(name, local_attempt(tokens=TokenCounts(**tokens)), agent=agent)

    store.insert(
        [
            served("1", "a", uncached_input=1000),
            served("2", "a", uncached_input=100, cache_read=950, output=20),
            served("3", "b", output=5),
            served("4", None, uncached_input=9000),
        ]
    )
    provider = local_attempt().provider
    assert store.longest_prompts(0, 4e9, provider=provider) == {"a": 1070, "b": 5}
    assert store.longest_prompts(0, 4e9, provider="another") == {}


def test_money_keeps_every_digit(store: Store) -> None:
    amounts = [Decimal("0.1234567890123456789012345678"), Decimal("98765432109876543210.5"), Decimal("1E-24")]
    store.insert([call(str(n), local_attempt(money=Money(marginal_energy=amount))) for n, amount in enumerate(amounts)])
    assert [one.attempts[0].money.marginal_energy for one in all_calls(store)] == amounts
    totals, _ = store.daily(FIRST, LAST)
    assert totals[0].sums["marginal_energy_usd"] == sum_exactly(amounts)


def sum_exactly(amounts: list[Decimal]) -> Decimal:
    scaled = [int(amount.scaleb(40)) for amount in amounts]
    return Decimal(f"{sum(scaled)}E-40")


def test_the_same_call_again_changes_nothing(store: Store) -> None:
    store.insert([call("a"), call("b")])
    before = store.daily(FIRST, LAST)
    assert store.insert([call("a", remote_attempt()), call("b")]) == 0
    assert store.daily(FIRST, LAST) == before
    assert all_calls(store) == [call("a"), call("b")]


def test_a_call_twice_in_one_batch_counts_once_and_the_first_wins(store: Store) -> None:
    assert store.insert([call("a", model="first"), call("a", model="second")]) == 1
    assert [one.model for one in all_calls(store)] == ["first"]


def state(name: str, output: int, **changes: Any) -> Call:
    return call(name, remote_attempt(tokens=TokenCounts(uncached_input=9, output=output)), **changes)


@pytest.mark.parametrize("final_first", [True, False])
def test_of_the_states_of_a_call_the_one_with_the_most_output_counts(store: Store, final_first: bool) -> None:
    partial, final = state("a", 3, at=NOVEMBER + DAY), state("a", 412, at=NOVEMBER)
    for one in (final, partial) if final_first else (partial, final):
        store.merge([one, call("b", origin="import:codex")])
    assert {one.id: one for one in all_calls(store)} == {"a": final, "b": call("b", origin="import:codex")}
    totals, provenance = store.daily(FIRST, LAST)
    counted = [{name: value for name, value in row.items() if name != "last_at"} for row in stored(totals)]
    assert counted == [
        {name: value for name, value in row.items() if name != "last_at"} for row in recomputed(all_calls(store))
    ]
    assert {(row.figure, row.source): row.attempts for row in provenance if row.figure == "tokens"} == {
        ("tokens", "engine"): 1,
        ("tokens", "provider"): 1,
    }


def test_a_merge_tells_what_it_changed(store: Store) -> None:
    early, late, other = state("a", 3), state("a", 412), state("b", 1)
    assert store.merge([early, other, early]) == ([early, other], [])
    assert store.merge([late, other]) == ([], [late])
    assert store.merge([late, early, other]) == ([], [])
    assert store.merge([]) == ([], [])
    assert store.known(["a", "b", "c"]) == {"a", "b"}


def test_forgetting_an_origin_removes_all_of_it_and_nothing_else(store: Store) -> None:
    store.insert([call("a")])
    before = (all_calls(store), store.daily(FIRST, LAST))
    store.merge([call("b", origin="import:codex")])
    store.insert_buckets([bucket(origin="import:codex")])
    assert store.known_buckets([bucket(origin="import:codex").id]) == {bucket(origin="import:codex").id}
    assert store.forget("import:codex") == 2
    assert (all_calls(store), store.daily(FIRST, LAST)) == before
    assert all_buckets(store) == []


def test_an_empty_batch_is_no_work(store: Store) -> None:
    assert store.insert([]) == 0
    assert store.days() is None


def test_daily_totals_equal_a_recomputation_from_the_calls(store: Store) -> None:
    batches = [
        [
            call(
                f"{batch}-{n}",
                *([local_attempt(), remote_attempt(2)] if n % 3 == 0 else [local_attempt()]),
                at=NOVEMBER + n * DAY / 4,
                origin="gateway" if n % 2 else "codex",
            )
            for n in range(12)
        ]
        for batch in range(3)
    ]
    for batch in batches:
        store.insert(batch)
    totals, _ = store.daily(FIRST, LAST)
    assert stored(totals) == recomputed(all_calls(store))


def test_a_month_ends_where_the_next_begins(store: Store) -> None:
    store.insert([call("last", at=NOVEMBER - 0.000001), call("first", at=NOVEMBER)])
    totals, provenance = store.daily(FIRST, LAST)
    assert [total.day for total in totals] == [FIRST]
    assert sum(count.attempts for count in provenance if count.figure == "tokens") == 1
    assert store.days() == (date(2026, 10, 31), FIRST)


def test_totals_can_be_limited_to_one_origin(store: Store) -> None:
    store.insert([call("a"), call("b", origin="codex")])
    totals, provenance = store.daily(FIRST, LAST, origin="codex")
    assert [total.origin for total in totals] == ["codex"]
    assert {count.attempts for count in provenance} == {1}
    assert [one.id for one in store.calls(0, 4e9, origin="codex")] == ["b"]


def test_calls_are_read_page_by_page_in_order_of_time(store: Store) -> None:
    count = 2 * READ_PAGE + 1
    store.insert([call(f"{n:05}", at=NOVEMBER + n // 3) for n in reversed(range(count))])
    assert [one.id for one in all_calls(store)] == [f"{n:05}" for n in range(count)]
    assert [one.id for one in store.calls(NOVEMBER + 1, NOVEMBER + 2)] == ["00003", "00004", "00005"]


@pytest.mark.parametrize(
    "impossible",
    [
        call("x" * 1000),
        call(""),
        call("a", local_attempt(), local_attempt()),
        call("b", local_attempt(tokens=TokenCounts(output=2**70))),
        call("c", local_attempt(money=Money(billed=Decimal("NaN")))),
        call("d", local_attempt(watt_hours=math.inf)),
        call("e", at=1e18),
    ],
    ids=["long id", "no id", "same attempt twice", "huge count", "no amount", "endless energy", "year 31 billion"],
)
def test_impossible_content_is_refused_and_leaves_no_trace(store: Store, impossible: Call) -> None:
    with pytest.raises(RecordRejected):
        store.insert([call("good"), impossible])
    assert all_calls(store) == []
    assert store.daily(FIRST, LAST) == ([], [])


def bucket(**changes: Any) -> UsageBucket:
    fields: dict[str, Any] = {
        "origin": "import:openai-usage",
        "provider": "openai",
        "model": "gpt-6",
        "start": NOVEMBER,
        "end": NOVEMBER + DAY,
        "tokens": TokenCounts(uncached_input=1000, cache_read=500, output=200),
        "requests": 10,
    }
    return UsageBucket(**fields | changes)


def all_buckets(store: Store) -> list[UsageBucket]:
    return list(store.buckets(0, 4e9))


def test_every_field_of_a_bucket_comes_back_as_it_was_written(store: Store) -> None:
    full = bucket(
        batch=True,
        account="project-1",
        variant="priority",
        tokens=TokenCounts(uncached_input=5, output=7, reasoning=3, cache_known=False),
        money=Money(
            billed=Decimal("1.23"), counterfactual_range=PriceRange(least=Decimal("0.1"), most=Decimal("0.30"))
        ),
        price=LIST_PRICE,
        reference_model="anthropic/claude-sonnet-5-5",
        reference_price=LIST_PRICE,
    )
    bare = bucket(model="", start=NOVEMBER + DAY, end=NOVEMBER + 2 * DAY, tokens=None, requests=None)
    assert store.insert_buckets([bare, full]) == 2
    assert all_buckets(store) == [full, bare]
    assert list(store.buckets(NOVEMBER + 1, 4e9)) == [bare]
    assert list(store.buckets(0, 4e9, origin="import:other")) == []


def test_the_same_bucket_again_changes_nothing(store: Store) -> None:
    store.insert_buckets([bucket()])
    assert store.insert_buckets([bucket(), bucket(money=Money(billed=Decimal(9)))]) == 0
    assert all_buckets(store) == [bucket()]


@pytest.mark.parametrize("later_first", [True, False])
def test_of_two_reports_of_a_bucket_the_later_one_counts(store: Store, later_first: bool) -> None:
    early, late = bucket(requests=4, tokens=TokenCounts(output=50)), bucket()
    for report in (late, early) if later_first else (early, late):
        store.insert_buckets([report])
    assert all_buckets(store) == [late]


@pytest.mark.parametrize(
    "other",
    [
        {"start": NOVEMBER + DAY / 2, "end": NOVEMBER + DAY},
        {"start": NOVEMBER - DAY, "end": NOVEMBER + 1},
        {"model": ""},
    ],
    ids=["hours after days", "a longer span", "all models together"],
)
def test_a_bucket_that_tells_of_the_same_time_in_other_terms_is_refused(store: Store, other: dict[str, Any]) -> None:
    store.insert_buckets([bucket()])
    with pytest.raises(RecordRejected, match="--forget import:openai-usage"):
        store.insert_buckets([bucket(start=NOVEMBER + DAY, end=NOVEMBER + 2 * DAY), bucket(**other)])
    assert all_buckets(store) == [bucket()]


def test_buckets_of_other_origins_other_times_and_unfinished_days_are_no_repeats(store: Store) -> None:
    unfinished = bucket(end=NOVEMBER + DAY / 2, tokens=TokenCounts(output=1))
    apart = [bucket(start=NOVEMBER + DAY, end=NOVEMBER + 2 * DAY), bucket(origin="import:other", end=NOVEMBER + 1)]
    items = [bucket(origin="import:x-cost", tokens=None, model=model) for model in ("", "gpt-6")]
    assert store.insert_buckets([unfinished, *apart, *items]) == 5
    assert store.insert_buckets([bucket()]) == 1
    assert unfinished not in all_buckets(store)


def test_buckets_are_read_page_by_page_in_order_of_time(store: Store) -> None:
    many = [bucket(start=NOVEMBER + n // 3, end=NOVEMBER + n // 3 + 1, model=f"m{n}") for n in range(READ_PAGE + 5)]
    assert store.insert_buckets(reversed(many)) == len(many)
    found = all_buckets(store)
    assert {one.model for one in found} == {one.model for one in many}
    assert [one.start for one in found] == sorted(one.start for one in found)


def test_a_bucket_with_impossible_content_is_refused_and_leaves_no_trace(store: Store) -> None:
    with pytest.raises(RecordRejected):
        store.insert_buckets([bucket(), bucket(model="b", requests=2**70)])
    assert all_buckets(store) == []


def test_what_is_left_open_adds_up_to_a_range(store: Store) -> None:
    open_price = local_attempt(
        tokens=TokenCounts(uncached_input=1000, output=300, cache_known=False),
        durations=Durations(),
        money=Money(billed=Decimal(0), counterfactual_range=PriceRange(Decimal("0.25"), Decimal("0.75"))),
    )
    unusual = [call("a", open_price), call("b", open_price), call("c")]
    store.insert(unusual)
    assert all_calls(store) == unusual
    (total,), _ = store.daily(FIRST, LAST)
    assert (total.counts["counterfactual_usd_unknown"], total.counts["counterfactual_usd_ranged"]) == (2, 2)
    assert (total.sums["counterfactual_least_usd"], total.sums["counterfactual_most_usd"]) == (
        Decimal("0.50"),
        Decimal("1.50"),
    )
    assert (total.counts["cache_unknown"], total.counts["billed_usd_ranged"]) == (2, 0)


def test_a_ledger_of_the_first_revision_keeps_its_calls(settings: LedgerSettings, tmp_path: Path) -> None:
    engine = database.connect(settings, tmp_path)
    config = Config()
    config.set_main_option("script_location", str(Path(breakeven.ledger.migrations.__file__).parent))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        moment = schema.utc(NOVEMBER).isoformat(timespec="microseconds")
        connection.execute(
            sa.text(
                "INSERT INTO calls (id, received_at, origin, endpoint, model, stream, outcome)"
                " VALUES ('old', :at, 'gateway', '/v1/chat/completions', 'local', TRUE, 'completed')"
            ),
            {"at": moment},
        )
        connection.execute(
            sa.text(
                "INSERT INTO attempts (call_id, number, provider, locality, model_asked, started_at, outcome, reason,"
                " counted_by, uncached_input, cache_read, cache_write_5m, cache_write_1h, output, total_seconds)"
                " VALUES ('old', 1, 'engine', 'local', 'demo', :at, 'completed', 'r', 'engine', 9, 1, 0, 0, 5, 2.5)"
            ),
            {"at": moment},
        )
    engine.dispose()
    store = Store.open(settings, tmp_path)
    (attempt,) = all_calls(store)[0].attempts
    store.close()
    assert attempt.tokens == TokenCounts(uncached_input=9, cache_read=1, output=5)
    assert attempt.durations == Durations(total=2.5)


def test_totals_from_before_keys_were_told_apart_keep_their_sums(settings: LedgerSettings, tmp_path: Path) -> None:
    engine = database.connect(settings, tmp_path)
    config = Config()
    config.set_main_option("script_location", str(Path(breakeven.ledger.migrations.__file__).parent))
    keyless = [call("a"), call("b", remote_attempt(provider_key=None))]
    columns = [column for column in schema.daily_totals.columns if column.name != "provider_key"]
    table = sa.table("daily_totals", *(sa.column(column.name, column.type) for column in columns))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for row in Rollup(keyless).total_rows():
            connection.execute(table.insert(), {column.name: row[column.name] for column in columns})
    engine.dispose()
    store = Store.open(settings, tmp_path)
    totals, _ = store.daily(FIRST, LAST)
    assert {total.provider_key for total in totals} == {""}
    store.insert([call("c", remote_attempt(provider_key="env:SECOND"))])
    totals, _ = store.daily(FIRST, LAST)
    store.close()
    assert stored(totals) == recomputed([*keyless, call("c", remote_attempt(provider_key="env:SECOND"))])


def test_writers_in_parallel_count_every_call_once(settings: LedgerSettings, tmp_path: Path) -> None:
    Store.open(settings, tmp_path).close()
    same = [call(f"shared-{n}", at=NOVEMBER + n) for n in range(50)]

    def write(own: int) -> None:
        store = Store.open(settings, tmp_path, busy_seconds=30)
        for n in range(10):
            store.insert([*same[n * 5 : n * 5 + 5], call(f"own-{own}-{n}")])
        store.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    store = Store.open(settings, tmp_path)
    totals, _ = store.daily(FIRST, LAST)
    assert sum(total.counts["calls"] for total in totals) == 50 + 30
    assert stored(totals) == recomputed(all_calls(store))
    store.close()


def test_opening_at_once_migrates_once(settings: LedgerSettings, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: Store.open(settings, tmp_path, busy_seconds=30), range(4)))
    for store in opened:
        assert store.days() is None
        store.close()


def test_the_migrations_make_exactly_the_tables_of_the_schema(settings: LedgerSettings, tmp_path: Path) -> None:
    engine = database.connect(settings, tmp_path)
    database.migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, schema.metadata) == []
        for table in schema.metadata.sorted_tables:
            columns = {column["name"]: str(column["type"]) for column in sa.inspect(connection).get_columns(table.name)}
            expected = {column.name: str(column.type.compile(engine.dialect)) for column in table.columns}
            assert {name: _plain(kind) for name, kind in columns.items()} == {
                name: _plain(kind) for name, kind in expected.items()
            }
    engine.dispose()


def _plain(kind: str) -> str:
    return {"TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "DOUBLE PRECISION": "DOUBLE"}.get(kind.upper(), kind.upper())


def test_the_revision_that_this_version_reads_is_the_newest() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(breakeven.ledger.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == database.HEAD


def test_a_database_of_a_newer_version_is_refused(settings: LedgerSettings, tmp_path: Path) -> None:
    Store.open(settings, tmp_path).close()
    engine = database.connect(settings, tmp_path)
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="does not know"):
        Store.open(settings, tmp_path)


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "oracle+nothing://x"])
def test_a_database_of_another_kind_is_a_configuration_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        Store.open(LedgerSettings(url=url), tmp_path)


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / database.FILE_NAME).write_text("certainly not a database " * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Store.open(LedgerSettings(), tmp_path)


@pytest.mark.postgres
def test_the_driver_need_not_be_named(postgres_server: str, tmp_path: Path) -> None:
    url = postgres_server.replace("postgresql+psycopg", "postgresql")
    assert database.connect(LedgerSettings(url=url), tmp_path).dialect.driver == "psycopg"


def test_a_missing_driver_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"breakeven\[postgres\]"):
        database.connect(LedgerSettings(url="postgresql://nobody@127.0.0.1/x"), tmp_path)


@pytest.mark.parametrize("url", ["mysql://me:secret@host/x", "postgresql+none://me:secret@host/x", "me:secret@host"])
def test_a_password_in_a_wrong_url_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        database.connect(LedgerSettings(url=url), tmp_path)
    assert "secret" not in str(caught.value)


def test_page_size_does_not_part_calls_of_one_moment(store: Store) -> None:
    store.insert([call(f"{n:05}") for n in range(READ_PAGE + 5)])
    assert len({one.id for one in all_calls(store)}) == READ_PAGE + 5
