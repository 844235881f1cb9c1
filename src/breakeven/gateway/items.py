"""``POST /agents/AGENT/items``: other programs give agents something to work on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from breakeven.errors import AgentNotFound, MalformedBody, NotPermitted
from breakeven.gateway.asgi import Receive, Scope, Send, header, read_body, respond_json
from breakeven.gateway.desk import Desk, NewItem
from breakeven.gateway.keys import presented_secret

PATH = "/agents/{agent}/items"
MOST_ITEMS = 10_000
"""Most items in one request: they are put in by one transaction, which other writers wait for."""
MOST_KEY_CHARACTERS = 200
LEAST_PRIORITY, MOST_PRIORITY = -(2**31), 2**31 - 1

_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_KEY_CHARACTERS)]
_Priority = Annotated[int, msgspec.Meta(ge=LEAST_PRIORITY, le=MOST_PRIORITY)]


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    payload: Any
    key: _Key | None = None
    priority: _Priority = 0


_decode = msgspec.json.Decoder(_Item | list[_Item]).decode


def agent_of(path: str) -> str | None:
    """The agent that a path puts items in for; ``None`` for any other path.

    >>> agent_of("/agents/triage/items"), agent_of("/agents//items"), agent_of("/agents/a/b/items")
    ('triage', None, None)
    """
    before, _, agent = path.removesuffix("/items").rpartition("/")
    return agent if agent and before == "/agents" and path.endswith("/items") else None


async def put(desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
    """Put an item, or a list of them, into an agent's queue; what is known by its key already changes nothing."""
    caller = desk.accounts.identify(presented_secret(dict(scope["headers"])))
    agent = agent_of(scope["path"]) or ""
    if caller.agent is not None and caller.agent != agent:
        raise NotPermitted(
            f"the API key {caller.name!r} is limited to agent {caller.agent!r}",
            remedy="Use a key without the label agent, or with this one.",
        )
    desk.accounts.throttle.admit(caller, 0)
    items = read_items(await read_body(scope, receive, desk.max_body_bytes), header(scope, b"idempotency-key"))
    if desk.inbox is None:
        raise AgentNotFound("this gateway has no agents", remedy="`breakeven serve` takes those of agents.url.")
    added = await desk.inbox.put(agent, items)
    await respond_json(send, {"added": added, "known": len(items) - added}, 202)


def read_items(body: bytes, request_key: str | None) -> list[NewItem]:
    """The items in a body.

    Args:
        request_key: names items that have no key of their own: itself, or with their place in the list.

    Raises:
        MalformedBody: naming the place that is wrong.
    """
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(
            f"the body is no item: {error}", remedy='Send {"payload": …, "key": …}, or a list of such objects.'
        ) from error
    several = isinstance(found, list)
    items = found if isinstance(found, list) else [found]
    if not 1 <= len(items) <= MOST_ITEMS:
        raise MalformedBody(f"{len(items):,} items", remedy=f"Send from 1 to {MOST_ITEMS:,} at once.")
    if request_key is not None and len(request_key) > MOST_KEY_CHARACTERS:
        raise MalformedBody(f"Idempotency-Key: {len(request_key)} characters, {MOST_KEY_CHARACTERS} are allowed")
    new: list[NewItem] = []
    for number, item in enumerate(items):
        key = item.key
        if key is None and request_key:
            key = f"{request_key}:{number}" if several else request_key
        if key is not None and any(character < " " or character == "\x7f" for character in key):
            raise MalformedBody(f"key = {key!r}: control characters are not allowed")
        new.append((key, item.priority, item.payload))
    return new
