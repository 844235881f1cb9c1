"""Where items come from, where results go, and how a server's refusals are understood."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.agents.conftest import Desk
from tests.fakes.web import Answer, as_json, fixed_web, web

from breakeven.agents import dead
from breakeven.agents.app import load_folder
from breakeven.agents.llm import Call, Client
from breakeven.errors import AgentError, ItemDeferred, ItemRejected

CALL = Call("local", [{"role": "user", "content": "hello"}], "k", {"agent": "a"}, ("label", {"type": "object"}), 5)
SAID = {"model": "m", "choices": [{"message": {"content": "hi"}}]}


def fleet(tmp_path: Path, source: str, sink: str = "") -> Any:
    folder = tmp_path / "agents"
    folder.mkdir(exist_ok=True)
    step = '[[steps]]\nname = "a"\nprompt = "{{ item.text }}"\n'
    (folder / "edge.toml").write_text(f"batch = 100\n[source]\n{source}\n{step}{sink}")
    return load_folder(folder).members


def asked(desk: Desk) -> list[str]:
    return sorted(call.messages[-1]["content"] for call in desk.oracle.calls)


def test_rows_of_a_query_become_items_once_from_a_cursor(desk: Desk, tmp_path: Path) -> None:
    other = sa.create_engine(f"sqlite:///{tmp_path}/other.sqlite3")
    with other.begin() as connection:
        connection.execute(sa.text("CREATE TABLE tickets (id INTEGER, text TEXT)"))
        connection.execute(sa.text("INSERT INTO tickets VALUES (9, 'nine'), (10, 'ten')"))
    query = f'kind = "table"\nurl = "{other.url}"\nquery = "SELECT id, text FROM tickets WHERE id > :cursor"'
    desk.wake(fleet(tmp_path, query))
    with other.begin() as connection:
        connection.execute(sa.text("INSERT INTO tickets VALUES (11, 'eleven')"))
    desk.wake(fleet(tmp_path, query))
    assert asked(desk) == ["eleven", "nine", "ten"]
    other.dispose()


def test_a_file_whose_name_is_no_text_is_an_item_like_the_others(desk: Desk, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / os.fsdecode(b"caf\xe9.txt")).write_text("latin")
    (inbox / "tea.txt").write_text("plain")
    sink = f'[sink]\nkind = "folder"\npath = "{tmp_path}/out"\nname = "{{{{ item.name }}}}"\ncontent = "{{{{ a }}}}"\n'
    desk.wake(fleet(tmp_path, f'kind = "folder"\npath = "{inbox}"', sink))
    assert asked(desk) == ["latin", "plain"]
    assert desk.states("edge") == {"done": 2}


def test_elements_of_a_page_become_items_once(desk: Desk, tmp_path: Path) -> None:
    page = {"result": {"open": [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]}}
    with fixed_web({"/tickets": as_json(page)}) as server:
        for _ in range(2):
            desk.wake(fleet(tmp_path, f'kind = "http"\nurl = "{server.url}/tickets"\nat = "result.open"'))
    assert asked(desk) == ["one", "two"]


def test_a_webhook_gets_the_same_key_when_it_is_called_again(desk: Desk, tmp_path: Path) -> None:
    answers: Iterator[Answer] = iter([Answer(status=503), as_json({})])
    sink = '[sink]\nkind = "webhook"\nurl = "URL/hook"\nbody = { said = "{{ a }}" }\n'
    with web(lambda _: next(answers)) as server:
        members = fleet(tmp_path, 'kind = "queue"', sink.replace("URL", server.url))
        desk.enqueue("edge", {"text": "x"})
        desk.wake(members)
        assert desk.states("edge") == {"ready": 1}, "the receiver was away"
        with desk.engine.begin() as connection:
            connection.execute(sa.text("UPDATE agents_items SET not_before = 0"))
        desk.wake(members)
    assert desk.states("edge") == {"done": 1}
    assert [json.loads(one.body) for one in server.asked] == [{"said": "answer to x"}] * 2
    assert len({one.headers["idempotency-key"] for one in server.asked}) == 1
    assert len(desk.oracle.calls) == 1


def test_a_row_in_another_database_is_told_apart_by_its_key(desk: Desk, tmp_path: Path) -> None:
    other = sa.create_engine(f"sqlite:///{tmp_path}/other.sqlite3")
    with other.begin() as connection:
        connection.execute(sa.text("CREATE TABLE said (text TEXT, breakeven_key TEXT UNIQUE)"))
    sink = f'[sink]\nkind = "table"\ntable = "said"\nurl = "{other.url}"\ncolumns = {{ text = "{{{{ a }}}}" }}\n'
    desk.enqueue("edge", {"text": "x"}, {"text": "y"})
    desk.wake(fleet(tmp_path, 'kind = "queue"', sink))
    with other.connect() as connection:
        rows = connection.execute(sa.text("SELECT text, breakeven_key FROM said ORDER BY text")).all()
    assert [tuple(row) for row in rows] == [("answer to x", "edge/1/1:2"), ("answer to y", "edge/2/1:2")]
    other.dispose()


def test_no_file_is_written_outside_its_folder(desk: Desk, tmp_path: Path) -> None:
    sink = f'[sink]\nkind = "folder"\npath = "{tmp_path}/out"\nname = "{{{{ item.name }}}}.json"\n'
    desk.enqueue("edge", {"text": "x", "name": "../../evil"}, {"text": "y", "name": "good"})
    desk.wake(fleet(tmp_path, 'kind = "queue"', sink))
    assert json.loads((tmp_path / "out" / "good.json").read_text()) == {"key": "1", "a": "answer to y"}
    with desk.engine.connect() as connection:
        [letter] = dead.dead_letters(connection)
    assert "leads out of" in str(letter.error)


def test_a_call_as_it_is_sent() -> None:
    with fixed_web({"/v1/chat/completions": as_json(SAID, **{"x-breakeven-served-by": "engine/demo"})}) as server:
        client = Client(f"{server.url}/v1/", "secret")
        answer = client.ask(CALL, retries=0)
        client.close()
    [sent] = server.asked
    assert (answer.text, answer.served_by) == ("hi", "engine/demo")
    assert sent.headers["authorization"] == "Bearer secret"
    assert sent.headers["idempotency-key"] == "k"
    assert sent.headers["x-breakeven-agent"] == "a"
    assert json.loads(sent.body) == {
        "model": "local",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "label", "schema": {"type": "object"}}},
    }


@pytest.mark.parametrize(
    ("answer", "kind", "wait"),
    [
        (Answer(b'{"error": {"message": "too long"}}', 400), ItemRejected, None),
        (Answer(b'{"error": {"message": "data stays"}}', 403), ItemRejected, None),
        (Answer(b"{}", 402, {"Retry-After": "7200"}), ItemDeferred, 7200.0),
        (Answer(b"{}", 402), ItemDeferred, 3600.0),
        (Answer(b"{}", 404), ItemDeferred, 300.0),
        (Answer(b"{}", 429, {"Retry-After": "90"}), ItemDeferred, 90.0),
        (Answer(b"not json", 502), ItemDeferred, 30.0),
        (as_json({"choices": []}), ItemRejected, None),
    ],
)
def test_what_a_refusal_means(answer: Answer, kind: type[AgentError], wait: float | None) -> None:
    with web(lambda _: answer) as server:
        client = Client(server.url, None)
        with pytest.raises(kind) as caught:
            client.ask(CALL, retries=0)
        client.close()
    assert getattr(caught.value, "retry_after_seconds", None) == wait


def test_what_passes_is_tried_again_under_the_same_key() -> None:
    answers = iter([Answer(b"{}", 503), Answer(b"{}", 429, {"Retry-After": "1"}), as_json(SAID)])
    slept: list[float] = []
    with web(lambda _: next(answers)) as server:
        client = Client(server.url, None, sleep=slept.append)
        assert client.ask(CALL, retries=3).text == "hi"
        client.close()
    assert {one.headers["idempotency-key"] for one in server.asked} == {"k"}
    assert len(slept) == 2


def test_nobody_there(tmp_path: Path) -> None:
    client = Client("http://127.0.0.1:9", None, sleep=lambda _: None)
    with pytest.raises(ItemDeferred, match="does not answer"):
        client.ask(CALL, retries=1)
    client.close()
