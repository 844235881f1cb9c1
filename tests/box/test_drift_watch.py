"""Slowdowns seen while calls are served: what is told, and how many calls are served at once."""

from __future__ import annotations

import asyncio
import logging
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from breakeven.box.drift import Cause, Strain
from breakeven.box.drift_watch import LOOK_SECONDS, RECENT_SECONDS, SETTLE_SECONDS, AtOnce, DriftWatch, adjust
from breakeven.box.timings import latest_calls, timing_of
from breakeven.cli.top import Look, page
from breakeven.config import LedgerSettings
from breakeven.economics.tokens import TokenCounts
from breakeven.gateway.box_view import drift_view
from breakeven.ledger.records import Attempt, Call, Durations, Locality
from breakeven.ledger.store import Store

CALM, SWAPPING, HOT = Strain(), Strain(memory_share=0.3), Strain(throttled=("card 0 is held back by heat",))
BUSY = Strain(cpu_share=0.6)
ENGINE = ("engine", "llama")


class Slots:
    """A box of four slots that notes what it is told."""

    slots = 4

    def __init__(self) -> None:
        self.told: list[int | None] = []

    def serve_at_once(self, calls: int | None) -> None:
        self.told.append(calls)


class Desk:
    """A watch, and time that passes call by call."""

    def __init__(self, *, here: str = "engine") -> None:
        self.now = 1_000_000.0
        self.box = Slots()
        self.watch = DriftWatch(lambda: CALM, clock=lambda: self.now)
        self.watch.configure({here}, {"engine": self.box})
        self.pass_time(20 * 60)

    def pass_time(
        self, seconds: float, *, slower: float = 1.0, strain: Strain = CALM, locality: Locality = "local"
    ) -> None:
        """A call every look."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_SECONDS
            self.watch.observe(call(self.now, slower, locality))
            self.watch.look(strain)


def call(at: float, slower: float, locality: Locality = "local") -> Call:
    attempt = Attempt(
        number=1, provider="engine", locality=locality, model_asked="llama", started_at=at,
        durations=Durations(total=7.0 * slower, prefill=2.0 * slower, decode=4.9 * slower), outcome="completed",
        counted_by="engine", reason="", tokens=TokenCounts(uncached_input=200, cache_read=1800, output=50),
        box_seconds=7.0 * slower,
    )  # fmt: skip
    return Call(str(at), at, "/v1/chat/completions", "llama", False, "completed", (attempt,))


def test_a_slowdown_is_told_once_when_it_begins_and_once_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk = Desk()
    assert caplog.messages == []
    desk.pass_time(20 * 60, slower=2.0, strain=BUSY)
    assert {target: drift.cause for target, drift in desk.watch.drifts.items()} == {ENGINE: Cause.CPU}
    (begun,) = caplog.messages
    assert begun.startswith("llama of engine, CPU contention: calls take 2.0 × as long as usual while other work")
    assert "engine.threads" in begun
    desk.pass_time(20 * 60)
    assert desk.watch.drifts == {}
    assert caplog.messages[1:] == ["CPU contention of engine/llama is over: calls take as long as usual"]


def test_causes_that_alternate_are_told_of_at_most_once_in_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for turn in range(40):
        desk.pass_time(40, slower=2.0, strain=Strain(cpu_share=1.0 if turn % 2 else 0.0))
    causes = [message for message in caplog.messages if "as long as usual" in message]
    assert len(causes) <= 1 + 40 * 40 / RECENT_SECONDS


def test_a_strain_without_slow_calls_and_slow_calls_of_the_cloud_are_no_matter() -> None:
    desk = Desk()
    desk.pass_time(20 * 60, strain=SWAPPING)
    desk.pass_time(20 * 60, slower=3.0, locality="remote")
    assert desk.watch.drifts == {}
    assert desk.box.told == [None]


@pytest.mark.parametrize("strain", [SWAPPING, HOT])
def test_fewer_calls_are_served_at_once_while_memory_is_short_or_the_machine_hot_and_all_again_after(
    strain: Strain,
) -> None:
    desk = Desk()
    desk.pass_time(RECENT_SECONDS, slower=2.0, strain=strain)
    assert desk.box.told == [None, 2]
    desk.pass_time(3 * RECENT_SECONDS, slower=2.0, strain=strain)
    assert desk.box.told == [None, 2, 1]
    assert desk.watch.limits == {"engine": 1}
    desk.pass_time(3600)
    assert desk.box.told == [None, 2, 1, 2, 3, None]
    assert desk.watch.limits == {}


def test_neighbours_on_the_cpu_do_not_cost_slots() -> None:
    desk = Desk()
    desk.pass_time(3600, slower=2.0, strain=BUSY)
    assert desk.box.told == [None]


def test_what_strains_this_machine_explains_nothing_on_another() -> None:
    desk = Desk(here="another")
    desk.pass_time(20 * 60, slower=2.0, strain=SWAPPING)
    assert desk.watch.drifts[ENGINE].cause is Cause.UNEXPLAINED
    assert desk.box.told == [None]


def test_waits_are_predicted_by_how_slow_it_is() -> None:
    desk = Desk()
    assert desk.watch.slowdown(ENGINE) == 1
    desk.pass_time(RECENT_SECONDS, slower=2.0, strain=HOT)
    assert desk.watch.slowdown(ENGINE) == pytest.approx(2.0)
    assert desk.watch.slowdown(("engine", "another")) == 1


def test_it_is_shown_with_cause_figures_and_what_is_done() -> None:
    desk = Desk()
    assert drift_view(desk.watch) == []
    desk.pass_time(RECENT_SECONDS, slower=2.0, strain=HOT)
    (shown,) = drift_view(desk.watch)
    assert (shown["provider"], shown["model"], shown["cause"], shown["at_once"]) == (*ENGINE, "thermal throttling", 2)
    said = {"ready": True, "checks": {}, "totals": [], "box": {}, "slower": [shown]}
    look = Look.of(said, 0.0)
    screen = Console(width=200, record=True, file=StringIO())
    screen.print(page("http://box", look, look))
    assert "llama of engine, thermal throttling: calls take 2.0 × as long as usual" in (text := screen.export_text())
    assert "held back by heat; 2 at once" in text


def test_the_books_of_the_day_tell_what_is_usual(tmp_path: Path) -> None:
    now = 1_795_000_000.0
    store = Store.open(LedgerSettings(), tmp_path)
    store.insert([call(now - 60 * n, 1.0) for n in range(1, 100)])
    store.close()
    desk = Desk()
    desk.now = now
    watch = DriftWatch(lambda: CALM, clock=lambda: desk.now)
    watch.configure({"engine"}, {})
    for past in latest_calls(LedgerSettings(), tmp_path, now):
        watch.observe(past)
    watch.look(CALM)
    assert watch.drifts == {}
    for _ in range(30):
        desk.now += LOOK_SECONDS
        watch.observe(call(desk.now, 2.0))
        watch.look(BUSY)
    assert watch.drifts[ENGINE].cause is Cause.CPU
    assert latest_calls(LedgerSettings(), tmp_path / "nowhere", now) == []


def test_of_a_server_that_does_not_state_its_times_decode_is_taken_by_the_clock() -> None:
    (attempt,) = (stated := call(0.0, 1.0)).attempts
    silent = msgspec.structs.replace(attempt, durations=Durations(total=9.0, first_token=4.0))
    timing = timing_of(stated, silent)
    assert timing is not None
    assert (timing.prefill, timing.decode) == (None, 5.0)
    second = msgspec.structs.replace(silent, number=2)  # its first token is counted from the arrival of the call
    assert (again := timing_of(stated, second)) is not None
    assert again.decode is None


def test_a_lasting_slowdown_does_not_become_what_is_usual() -> None:
    desk = Desk()
    desk.pass_time(12 * 3600, slower=2.0, strain=HOT)
    assert desk.watch.drifts[ENGINE].cause is Cause.HEAT


def test_a_slowdown_ends_when_nothing_is_called_any_more() -> None:
    desk = Desk()
    desk.pass_time(RECENT_SECONDS, slower=2.0, strain=HOT)
    for _ in range(60):
        desk.now += LOOK_SECONDS
        desk.watch.look(CALM)
    assert desk.watch.drifts == {}


def test_a_new_configuration_keeps_the_limit_of_a_box_that_stays() -> None:
    desk = Desk()
    desk.pass_time(RECENT_SECONDS, slower=2.0, strain=HOT)
    anew = Slots()
    desk.watch.configure({"engine"}, {"engine": anew})
    assert anew.told == [2]


@given(st.integers(1, 16), st.lists(st.tuples(st.floats(1, 2000), st.booleans()), max_size=60))
def test_at_least_one_call_is_served_and_changes_lie_apart(slots: int, looks: list[tuple[float, bool]]) -> None:
    state, now, changes = AtOnce(), 0.0, [-1e9]
    for passed, fewer_help in looks:
        now += passed
        after = adjust(state, slots, now, fewer_help=fewer_help)
        if after.calls != state.calls:
            assert now - changes[-1] >= SETTLE_SECONDS
            changes.append(now)
        assert after.calls is None or 1 <= after.calls < slots
        state = after
    for n in range(1, slots + 3):
        state = adjust(state, slots, now + n * SETTLE_SECONDS, fewer_help=False)
    assert state.calls is None


def test_it_looks_until_it_is_cancelled() -> None:
    looks: list[float] = []

    async def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 2:
            raise asyncio.CancelledError

    watch = DriftWatch(lambda: CALM, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.run())
    assert looks == [LOOK_SECONDS] * 3
