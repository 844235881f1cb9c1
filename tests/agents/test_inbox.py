"""Items that other programs bring over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.conftest import Desk, Oracle
from tests.gateway.conftest import RunningGateway, run_gateway

from breakeven.agents import database
from breakeven.agents.app import App
from breakeven.agents.context import Context
from breakeven.agents.inbox import Inbox
from breakeven.errors import MalformedBody, QueueUnavailable
from breakeven.gateway.items import MOST_ITEMS, read_items

KEYS = {"DOOR": "a-key-for-the-door-of-triage", "DESK": "a-key-for-whoever-sits-there"}
app = App()


@app.agent("triage")
def triage(ctx: Context, item: dict[str, Any]) -> None:
    ctx.llm("label", item["text"])


@app.agent("night")
def night(ctx: Context) -> None:
    ctx.llm("look", "around")


@contextmanager
def gateway_beside(home: Path, inbox_home: Path | None, **more: Any) -> Iterator[RunningGateway]:
    document = {"providers": {"sky": {"base_url": "http://127.0.0.1:9/v1"}}, **more}
    with ExitStack() as stack:
        inbox = None
        if inbox_home is not None:
            inbox = stack.enter_context(closing(Inbox(database.connect(None, inbox_home))))
        yield stack.enter_context(run_gateway(document, home, KEYS, inbox=inbox))


Post = Callable[..., httpx2.Response]


@pytest.fixture
def post(desk: Desk, tmp_path: Path) -> Iterator[Post]:
    """Post a body to an agent that a worker has run."""
    desk.worker(app.members).run(until_idle=True)
    with gateway_beside(tmp_path / "gateway", tmp_path) as gateway:

        def post(body: Any, agent: str = "triage", **headers: str) -> httpx2.Response:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx2.post(f"{gateway.url}/agents/{agent}/items", content=content, headers=named)

        yield post


def test_an_item_is_put_in_once_under_its_key_and_worked_on(post: Post, desk: Desk) -> None:
    item = {"payload": {"text": "The printer is on fire."}, "key": "ticket-17"}
    first, again = post(item), post(item)
    assert (first.status_code, first.json()) == (202, {"added": 1, "known": 0})
    assert (again.status_code, again.json()) == (202, {"added": 0, "known": 1})
    desk.wake(app, "triage")
    assert [call.messages[-1]["content"] for call in desk.oracle.calls if call.labels["agent"] == "triage"] == [
        "The printer is on fire."
    ]


def test_a_list_is_put_in_whole_and_the_urgent_are_worked_on_first(post: Post, desk: Desk) -> None:
    items = [
        {"payload": {"text": text}, "key": text, "priority": priority} for text, priority in (("low", 0), ("high", 9))
    ]
    assert post([*items, items[0]]).json() == {"added": 2, "known": 1}
    desk.wake(app, "triage")
    assert [call.messages[-1]["content"] for call in desk.oracle.calls][-2:] == ["high", "low"]


def test_items_without_a_key_are_named_by_that_of_the_request(post: Post, desk: Desk) -> None:
    items = [{"payload": {"text": "a"}}, {"payload": {"text": "b"}, "key": "own"}]
    for expected in ({"added": 2, "known": 0}, {"added": 0, "known": 2}):
        assert post(items, idempotency_key="batch-3").json() == expected
    assert post(items[0], idempotency_key="batch-4").json() == {"added": 1, "known": 0}
    assert post(items[0]).json() == post(items[0]).json() == {"added": 1, "known": 0}
    assert desk.states("triage") == {"ready": 5}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no item"),
        (b"{", "no item"),
        (b'"text"', "no item"),
        (b"\xff", "no item"),
        (b"[" * 100_000, "no item"),
        ({"text": "x"}, "`text`"),
        ({"key": "k"}, "`payload`"),
        ([{"payload": 1}, {"payload": 1, "priority": 2**31}], "$[1].priority"),
        ({"payload": 1, "key": ""}, "$.key"),
        ({"payload": 1, "key": "k" * 201}, "$.key"),
        ({"payload": 1, "key": "a\x00b"}, "control characters"),
        ([], "0 items"),
        ([{"payload": 1}] * (MOST_ITEMS + 1), "10,001 items"),
    ],
)
def test_a_body_that_is_no_item_is_refused_by_name(body: Any, says: str) -> None:
    with pytest.raises(MalformedBody) as refused:
        read_items(body if isinstance(body, bytes) else json.dumps(body).encode(), None)
    assert says in refused.value.message


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, min_size=1, max_size=5))
def test_a_payload_is_what_was_sent(payloads: list[Any]) -> None:
    body = json.dumps([{"payload": payload} for payload in payloads]).encode()
    assert [item[2] for item in read_items(body, None)] == payloads


def test_what_cannot_be_put_in_is_said(post: Post) -> None:
    unknown, tick = post({"payload": 1}, agent="nobody"), post({"payload": 1}, agent="night")
    assert unknown.status_code == 404
    assert "There are night, triage" in unknown.json()["error"]["remedy"]
    assert (tick.status_code, tick.json()["error"]["cause"]) == (400, "agent 'night' takes no items")
    assert post({"text": "x"}).status_code == 400
    assert post({"payload": 1}, origin="https://elsewhere.example").status_code == 403


def test_other_methods_and_paths_are_refused(post: Post) -> None:
    url = str(post({"payload": {}}).request.url)
    assert httpx2.get(url).status_code == 405
    assert httpx2.post(url.replace("triage", "tri/age")).status_code == 404


def test_a_key_opens_the_door_that_it_is_for(desk: Desk, tmp_path: Path) -> None:
    desk.worker(app.members).run(until_idle=True)
    keys = {"door": {"secret": "env:DOOR", "agent": "triage", "rpm": 2}, "desk": {"secret": "env:DESK"}}
    with gateway_beside(tmp_path / "gateway", tmp_path, keys=keys, gateway={"max_body_bytes": 1024}) as gateway:

        def status(agent: str, key: str | None, payload: Any = 1) -> int:
            headers = {} if key is None else {"authorization": f"Bearer {KEYS[key]}"}
            url = f"{gateway.url}/agents/{agent}/items"
            return httpx2.post(url, json={"payload": payload}, headers=headers).status_code

        assert status("triage", None) == 401
        assert status("night", "DOOR") == 403
        assert [status("triage", "DOOR") for _ in range(3)] == [202, 202, 429]
        assert status("triage", "DESK") == 202
        assert status("triage", "DESK", "x" * 2000) == 413


def test_a_gateway_without_agents_makes_none(tmp_path: Path) -> None:
    for inbox_home in (None, tmp_path / "agents"):
        with gateway_beside(tmp_path / f"gateway-{inbox_home is None}", inbox_home) as gateway:
            answer = httpx2.post(f"{gateway.url}/agents/triage/items", json={"payload": 1})
        assert answer.status_code == 404
    assert not (tmp_path / "agents" / database.FILE_NAME).exists()


def test_a_database_that_fails_is_told_apart_from_a_bad_request(tmp_path: Path) -> None:
    (tmp_path / database.FILE_NAME).write_text("certainly not a database " * 100)

    with (
        closing(Inbox(database.connect(None, tmp_path))) as inbox,
        pytest.raises(QueueUnavailable, match="DatabaseError"),
    ):
        asyncio.run(inbox.put("triage", [(None, 0, 1)]))


@pytest.mark.postgres
def test_many_programs_at_once_put_in_each_item_once(tmp_path: Path, postgres_url: str) -> None:
    engine = database.connect(postgres_url, tmp_path)
    database.migrate(engine)
    desk = Desk(engine, Oracle())
    desk.worker(app.members).run(until_idle=True)
    document = {"providers": {"sky": {"base_url": "http://127.0.0.1:9/v1"}}}
    with (
        closing(Inbox(database.connect(postgres_url, tmp_path))) as inbox,
        run_gateway(document, tmp_path / "gateway", inbox=inbox) as gateway,
        ThreadPoolExecutor(8) as pool,
    ):

        def post(number: int) -> int:
            items = [{"payload": {}, "key": f"k{(number + each) % 20}"} for each in range(10)]
            return int(httpx2.post(f"{gateway.url}/agents/triage/items", json=items, timeout=60).json()["added"])

        assert sum(pool.map(post, range(40))) == 20
    assert desk.states("triage") == {"ready": 20}
    engine.dispose()
