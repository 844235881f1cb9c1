"""What an agent's function can rely on, and what becomes of items whose work does not succeed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from tests.agents.conftest import Desk

from breakeven.agents import dead, history
from breakeven.agents.app import App, load_folder
from breakeven.agents.context import Context
from breakeven.agents.queue import New
from breakeven.errors import InputError, ItemDeferred, ItemRejected


class Label(BaseModel):
    topic: str
    urgency: int = Field(ge=1, le=3)


def shout(text: str) -> str:
    return text.upper()


def look_up(ctx: Context, topic: str) -> str:
    if topic == "forbidden":
        raise ItemRejected("nobody may ask that")
    return ctx.llm("ask", topic)


def write(session: Session, text: str) -> int:
    session.execute(sa.text("CREATE TABLE IF NOT EXISTS written (text TEXT)"))
    session.execute(sa.text("INSERT INTO written VALUES (:text)"), {"text": text})
    return 1


def written(desk: Desk) -> list[str]:
    with desk.engine.connect() as connection:
        return sorted(connection.scalars(sa.text("SELECT text FROM written")))


def test_an_item_goes_through_its_chain_with_labels_and_one_key_a_step(desk: Desk) -> None:
    app = App()

    @app.agent("triage", data="local_only", deadline_seconds=30, task="tag", system="Be brief.", model="local")
    def triage(ctx: Context, item: dict[str, Any]) -> None:
        text = ctx.step(shout, item["text"])
        first = ctx.llm("classify", text)
        ctx.commit(write, ctx.llm("draft", first, task="rewrite"))

    desk.enqueue("triage", {"text": "hello"})
    desk.wake(app)
    assert written(desk) == ["answer to answer to HELLO"]
    assert desk.states("triage") == {"done": 1}
    first, second = desk.oracle.calls
    assert first.messages[0] == {"role": "system", "content": "Be brief."}
    assert (first.key, second.key) == ("triage/1/1:2", "triage/1/1:3")
    chain = {
        "agent": "triage",
        "chain": "triage/1/1",
        "data": "local_only",
        "priority": "agent",
        "deadline-seconds": "30",
    }
    assert dict(first.labels) == {**chain, "task": "tag"}
    assert dict(second.labels) == {**chain, "task": "rewrite"}


def test_results_come_back_as_their_annotation_says(desk: Desk) -> None:
    app, seen = App(), []

    def label() -> Label:
        return Label(topic="printer", urgency=2)

    @app.agent("typed")
    def typed(ctx: Context, item: Label) -> None:
        seen.append((item, ctx.step(label)))

    desk.enqueue("typed", {"topic": "fax", "urgency": 1}, {"topic": "fax", "urgency": 9})
    desk.wake(app)
    assert seen == [(Label(topic="fax", urgency=1), Label(topic="printer", urgency=2))]
    with desk.engine.connect() as connection:
        [letter] = dead.dead_letters(connection)
    assert "the item is not what 'item' is annotated as" in str(letter.error)


@pytest.mark.parametrize(
    ("answers", "asked", "state"),
    [
        (['{"topic": "bug", "urgency": 1}'], ["auto"], "done"),
        (['```json\n{"topic": "bug", "urgency": 1}\n```'], ["auto"], "done"),
        (["no", '{"topic": "bug", "urgency": 1}'], ["auto", "auto"], "done"),
        (
            ["no", '{"topic": "bug", "urgency": 9}', '{"topic": "bug", "urgency": 1}'],
            ["auto", "auto", "frontier"],
            "done",
        ),
        (["no", "no", "no"], ["auto", "auto", "frontier"], "dead"),
    ],
)
def test_an_invalid_answer_is_asked_for_again_then_promoted_then_given_up(
    desk: Desk, answers: list[str], asked: list[str], state: str
) -> None:
    app, waiting = App(), iter(answers)
    desk.oracle.says = lambda _: next(waiting)

    @app.agent("labels", promote="frontier")
    def labels(ctx: Context, item: str) -> None:
        assert isinstance(ctx.llm("label", item, schema=Label), Label)

    desk.enqueue("labels", "printer on fire")
    desk.wake(app)
    assert [call.model for call in desk.oracle.calls] == asked
    assert len({call.key for call in desk.oracle.calls}) == len(asked)
    assert desk.states("labels") == {state: 1}


def test_parts_fail_apart_and_share_a_prefix(desk: Desk) -> None:
    app, outcomes = App(), []

    @app.agent("research", system="You answer briefly.")
    def research(ctx: Context) -> None:
        fanned = ctx.map(look_up, ["tea", "forbidden", "coffee"], parallel=2, prefix="About drinks.")
        outcomes.extend(fanned.branches)
        ctx.commit(write, " / ".join(branch.value or "" for branch in fanned.succeeded))

    desk.wake(app)
    assert [branch.value for branch in outcomes] == ["answer to tea", None, "answer to coffee"]
    assert "nobody may ask that" in str(outcomes[1].error)
    assert written(desk) == ["answer to tea / answer to coffee"]
    assert {call.messages[0]["content"] for call in desk.oracle.calls} == {"You answer briefly.\n\nAbout drinks."}
    assert len({call.labels["chain"] for call in desk.oracle.calls}) == 1


def test_a_function_that_no_restart_would_find_is_refused(desk: Desk) -> None:
    app = App()

    @app.agent("lambda")
    def research(ctx: Context) -> None:
        ctx.map(lambda _, part: part, [1])

    desk.wake(app)
    with desk.engine.connect() as connection:
        [letter] = dead.dead_letters(connection)
    assert "Define it with def at the top of a module" in str(letter.error)


def test_what_is_wrong_around_an_item_lets_it_wait_and_paid_steps_are_kept(desk: Desk) -> None:
    app, now = App(), [time.time()]
    desk.clock = lambda: now[0]
    away = [True]

    def says(call: Any) -> str:
        if call.messages[-1]["content"] == "second" and away[0]:
            raise ItemDeferred("the budget is spent", retry_after_seconds=3600)
        return "fine"

    desk.oracle.says = says

    @app.agent("patient")
    def patient(ctx: Context, item: str) -> None:
        ctx.llm("one", "first")
        ctx.llm("two", "second")

    desk.enqueue("patient", "x")
    desk.wake(app)
    assert desk.states("patient") == {"ready": 1}
    desk.wake(app)
    assert len(desk.oracle.calls) == 2, "it waits for its hour"
    now[0] += 3601
    away[0] = False
    desk.wake(app)
    assert desk.states("patient") == {"done": 1}
    assert [call.key for call in desk.oracle.calls] == ["patient/1/1:1", "patient/1/1:2", "patient/1/1:2"]


def test_a_deferred_part_goes_on_and_the_others_are_kept(desk: Desk) -> None:
    app, now, away = App(), [time.time()], [True]
    desk.clock = lambda: now[0]

    def says(call: Any) -> str:
        if call.messages[-1]["content"] == "coffee" and away[0]:
            raise ItemDeferred("nobody answers")
        return "fine"

    desk.oracle.says = says

    @app.agent("research")
    def research(ctx: Context, item: str) -> None:
        ctx.commit(write, " ".join(ctx.map(look_up, ["tea", "coffee", "milk"], parallel=2).values()))

    desk.enqueue("research", "drinks")
    desk.wake(app)
    assert desk.states("research") == {"ready": 1}
    now[0] += 31
    away[0] = False
    desk.wake(app)
    assert written(desk) == ["fine fine fine"]
    assert sorted(call.messages[-1]["content"] for call in desk.oracle.calls) == ["coffee", "coffee", "milk", "tea"]
    assert len({call.key for call in desk.oracle.calls}) == 3


def test_a_dead_letter_is_retried_from_the_step_that_failed(desk: Desk) -> None:
    app, broken = App(), [True]

    def fragile(text: str) -> str:
        if broken[0]:
            raise ValueError("no paper")
        return text

    @app.agent("printer", retries=1)
    def printer(ctx: Context, item: str) -> None:
        text = ctx.llm("write", item)
        ctx.commit(write, ctx.step(fragile, text))

    desk.enqueue("printer", "page")
    desk.wake(app)
    with desk.engine.begin() as connection:
        [letter] = dead.dead_letters(connection)
        assert (letter.step, letter.resume_at) == ("fragile", 2)
        assert letter.error == "ValueError: no paper"
        dead.retry(connection, [letter.id])
    broken[0] = False
    desk.wake(app)
    assert written(desk) == ["answer to page"]
    assert len(desk.oracle.calls) == 1, "the paid step was kept"
    with desk.engine.connect() as connection:
        item = history.item(connection, letter.id)
    assert item is not None
    assert (item.state, item.attempt) == ("done", 2)
    assert [step.name for step in history.steps(desk.engine, item)] == ["write", "fragile", "write"]


def test_a_failed_commit_leaves_nothing_behind(desk: Desk) -> None:
    app = App()

    def half(session: Session) -> None:
        write(session, "half")
        raise ValueError("power cut")

    @app.agent("halves")
    def halves(ctx: Context) -> None:
        ctx.commit(write, "first")
        ctx.commit(half)

    desk.wake(app)
    assert written(desk) == ["first"]
    assert desk.states("halves") == {"dead": 1}


def test_an_item_is_replayed_whole_or_from_a_step(desk: Desk) -> None:
    app = App()

    @app.agent("again")
    def again(ctx: Context, item: str) -> None:
        ctx.commit(write, ctx.llm("ask", item))

    desk.enqueue("again", "x")
    desk.wake(app)
    for from_step, calls in ((2, 1), (None, 2)):
        with desk.engine.begin() as connection:
            dead.replay(connection, 1, from_step=from_step)
        desk.wake(app)
        assert len(desk.oracle.calls) == calls
    assert written(desk) == ["answer to x"] * 3
    with desk.engine.begin() as connection, pytest.raises(InputError, match="there is no such item"):
        dead.replay(connection, 99)


def test_a_failing_agent_does_not_stop_the_others(desk: Desk, tmp_path: Path) -> None:
    app = App()

    @app.agent("broken", retries=0)
    def broken(ctx: Context, item: str) -> None:
        raise RuntimeError("a bug")

    @app.agent("no-source", source={"kind": "folder", "path": str(tmp_path / "nowhere")})
    def no_source(ctx: Context, item: str) -> None: ...

    @app.agent("well")
    def well(ctx: Context, item: str) -> None:
        ctx.commit(write, item)

    desk.enqueue("broken", *"ab")
    desk.enqueue("well", *"cd")
    desk.wake(app)
    assert desk.states("broken") == {"dead": 2}
    assert written(desk) == ["c", "d"]
    with desk.engine.connect() as connection:
        state, _, error = history.last_runs(connection)["no-source"]
    assert state == "failed"
    assert "is no folder" in str(error)


def test_a_source_that_shows_what_no_queue_can_hold_fails_its_run_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()

    @app.agent("odd", source={"kind": "http", "url": "http://127.0.0.1:9"})
    def odd(ctx: Context, item: Any) -> None: ...

    @app.agent("fine")
    def fine(ctx: Context, item: Any) -> None: ...

    showing: list[Any] = [object()]
    monkeypatch.setattr(
        "breakeven.agents.sources.look",
        lambda source, *_: ([New(one) for one in showing if source.kind == "http"], None),
    )
    desk.enqueue("fine", 1)
    desk.wake(app)
    with desk.engine.connect() as connection:
        found = {agent: (state, error) for agent, (state, _, error) in history.last_runs(connection).items()}
    assert found["fine"] == ("done", None)
    assert found["odd"] == ("failed", "Object of type object is not JSON serializable")
    showing[:] = ["half a \ud800 pair"]
    desk.wake(app)
    assert (desk.states("fine"), desk.states("odd")) == ({"done": 1}, {"done": 1})


def test_a_declared_agent_from_folder_to_table(desk: Desk, tmp_path: Path) -> None:
    inbox, fleet = tmp_path / "inbox", tmp_path / "agents"
    inbox.mkdir()
    fleet.mkdir()
    (inbox / "one.txt").write_text("printer on fire")
    (fleet / "sort.toml").write_text(f"""
        model = "local"
        [source]
        kind = "folder"
        path = "{inbox}"
        [[steps]]
        name = "label"
        prompt = "Label: {{{{ item.text }}}}"
        schema = {{ type = "object", required = ["topic"], properties = {{ topic = {{ type = "string" }} }} }}
        [sink]
        kind = "table"
        table = "labels"
        columns = {{ file = "{{{{ item.name }}}}", topic = "{{{{ label.topic }}}}" }}
    """)
    desk.oracle.says = lambda _: '{"topic": "hardware"}'
    with desk.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE labels (file TEXT, topic TEXT)"))
    members = load_folder(fleet).members
    desk.wake(members)
    desk.wake(members)
    assert len(desk.oracle.calls) == 1, "a file is an item once"
    (inbox / "one.txt").write_text("printer still on fire")
    desk.wake(members)
    with desk.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT file, topic FROM labels")).all()
    assert [tuple(row) for row in rows] == [("one.txt", "hardware")] * 2


def test_what_is_old_is_forgotten(desk: Desk) -> None:
    app, now = App(), [time.time()]
    desk.clock = lambda: now[0]

    @app.agent("daily")
    def daily(ctx: Context, item: str) -> None:
        ctx.llm("ask", item)

    desk.enqueue("daily", "x")
    desk.wake(app)
    now[0] += 31 * 86400
    desk.worker(app.members).run(until_idle=True)
    assert desk.states("daily") == {}
    with desk.engine.connect() as connection:
        left = connection.scalar(sa.text("SELECT count(*) FROM workflow_status"))
    assert left == 0


def test_agents_give_each_other_work(desk: Desk) -> None:
    app = App()

    @app.agent("first")
    def first(ctx: Context, item: str) -> None:
        ctx.enqueue("second", f"{item} 1", f"{item} 2")

    @app.agent("second")
    def second(ctx: Context, item: str) -> None:
        ctx.commit(write, item)

    desk.enqueue("first", "x")
    desk.wake(app, "first")
    desk.wake(app, "second")
    assert written(desk) == ["x 1", "x 2"]
