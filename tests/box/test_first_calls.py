"""The first call of the day, foreseen: from the books, and acted on by the keeper."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.box.test_cache_size import call
from tests.fakes.ollama import Ollama
from tests.fakes.web import web

from breakeven.box.day_rhythm import DAY, NEAR, first_calls, next_first_call
from breakeven.box.first_calls import LEAD, FirstCalls
from breakeven.box.keeper import Keeper, Resident, Watch, decide
from breakeven.config import LedgerSettings
from breakeven.ledger.store import Store

HOUR = 3600.0
EIGHT = 8 * HOUR
MONDAY = 1_794_787_200.0  # 2026-11-16, midnight UTC


def mornings(*days: int, late: float = 0.0) -> list[float]:
    return [day * DAY + EIGHT + late * day for day in days]


def test_two_mornings_running_foretell_the_third() -> None:
    assert next_first_call(mornings(0), EIGHT + 1) is None
    assert next_first_call(mornings(0, 1), DAY + EIGHT + 1) == 2 * DAY + EIGHT
    assert next_first_call(mornings(0, 1, 2, late=600), 2 * DAY + 9 * HOUR) == 3 * DAY + EIGHT + 1200


def test_after_a_week_a_monday_is_foretold_and_a_weekend_is_not() -> None:
    workdays = [day for day in range(12) if day % 7 < 5]
    friday = workdays[-1] * DAY + 20 * HOUR
    assert next_first_call(mornings(*workdays), friday) == 14 * DAY + EIGHT  # not on day 12 or 13


def test_a_call_at_odd_times_foretells_nothing() -> None:
    odd = [day * DAY + hour * HOUR for day, hour in ((0, 3), (1, 14), (2, 9), (3, 20))]
    assert next_first_call(odd, 3 * DAY + 21 * HOUR) is None


@given(st.lists(st.floats(0, 14 * DAY), max_size=30), st.floats(0, 15 * DAY))
def test_what_is_foretold_lies_ahead_and_at_a_time_of_day_seen_before(firsts: list[float], now: float) -> None:
    at = next_first_call(firsts, now)
    if at is not None:
        assert at > now
        apart = [(at - first) % DAY for first in firsts]
        assert min(min(gap, DAY - gap) for gap in apart) <= NEAR


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(1, 1e5))
def test_a_first_call_follows_a_silence(active: list[float], silence: float) -> None:
    for first in first_calls(sorted(active), silence):
        assert not any(first - silence <= at < first for at in active)


def fill(home: Path) -> None:
    """Calls from eight to six on the workdays of a week."""
    store = Store.open(LedgerSettings(), home)
    times = [MONDAY + day * DAY + hour * HOUR + 60 for day in range(5) for hour in range(8, 18)]
    store.insert([call(int(at), "a", at, provider="ollama", output=1) for at in times])
    store.close()


def due(home: Path, at: float, *, model: str = "m", ahead: float = 0.0) -> bool:
    watch = FirstCalls(LedgerSettings(), home, 2 * HOUR, clock=lambda: at, utc_offset=lambda _: ahead)
    return asyncio.run(watch.due(model))


def test_the_books_tell_when_a_first_call_is_due(tmp_path: Path) -> None:
    fill(tmp_path)
    monday = MONDAY + 7 * DAY + EIGHT
    assert due(tmp_path, monday - LEAD)
    assert due(tmp_path, monday - LEAD, ahead=HOUR)
    assert not due(tmp_path, monday - LEAD - 60)
    assert not due(tmp_path, MONDAY + 5 * DAY + EIGHT - LEAD, model="another")
    assert not due(tmp_path, MONDAY + 6 * DAY + EIGHT - LEAD)  # a Sunday


def test_a_change_to_summer_time_moves_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    change = MONDAY + 6 * DAY
    watch = FirstCalls(
        LedgerSettings(), tmp_path, 2 * HOUR,
        clock=lambda: MONDAY + 7 * DAY + EIGHT - HOUR - LEAD,
        utc_offset=lambda at: HOUR if at >= change else 0.0,
    )  # fmt: skip
    assert asyncio.run(watch.due("m"))


def test_books_that_do_not_answer_foretell_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not due(tmp_path, MONDAY)
    assert "when m will be called first is not known" in caplog.text


def test_the_keeper_loads_an_idle_model_before_its_first_call_and_only_then() -> None:
    idle = Watch("idle", until=0.0, loaded_at=-50_000.0)
    assert decide(idle, None, 100.0, loaded=False) == (idle, False)
    assert decide(idle, None, 100.0, loaded=False, due=True) == (idle, True)
    failed = idle.failed(100.0)
    assert decide(failed, None, 101.0, loaded=False, due=True) == (failed, False)

    ollama, asked = Ollama(), list[str]()
    now = [0.0]

    async def is_due(model: str) -> bool:
        asked.append(model)
        return now[0] >= 9 * HOUR

    async def hours() -> None:
        keeper = Keeper(HOUR, due=is_due, clock=lambda: now[0])
        keeper.configure(frozenset({Resident(server.url, "qwen3:8b")}))
        await keeper.look()
        await keeper.look()
        assert asked == []
        now[0], ollama.loaded = 2 * HOUR, {}
        await keeper.look()
        await keeper.look()
        assert (ollama.loads, asked) == (["qwen3:8b"], ["qwen3:8b"])
        now[0] = 9 * HOUR
        await keeper.look()
        assert ollama.loaded == {"qwen3:8b": HOUR}

    with web(ollama) as server:
        asyncio.run(hours())
