"""The ASGI application: a dictionary of routes, nothing between them and the wire."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from breakeven import __version__
from breakeven.errors import BreakevenError, MethodNotAllowed, NoSuchEndpoint
from breakeven.gateway import admin, count_tokens, embeddings, items, openapi, pages
from breakeven.gateway.asgi import (
    ClientLeft,
    Receive,
    Scope,
    Send,
    gateway_fault,
    read_body,
    respond,
    respond_error,
    respond_json,
)
from breakeven.gateway.call import Door, PlannedCall, Visit
from breakeven.gateway.desk import Desk
from breakeven.gateway.generation import Generation
from breakeven.gateway.keys import presented_secret
from breakeven.gateway.labels import read_labels
from breakeven.gateway.metrics import CONTENT_TYPE
from breakeven.gateway.once import answer_once
from breakeven.routing.table import Route
from breakeven.wire.body import Json, parse_object, read_model
from breakeven.wire.dialects import parse_request
from breakeven.wire.request import Dialect

log = logging.getLogger(__name__)
Handler: TypeAlias = Callable[[Desk, Scope, Receive, Send], Awaitable[None]]

CHAT = Door("/v1/chat/completions", "openai")
RESPONSES = Door("/v1/responses", "responses")
MESSAGES = Door("/v1/messages", "anthropic")
MODELS, MODEL = "/v1/models", "/v1/models/{model}"
PROBES = ("/", "/api/hello")
"""Where clients knock before their first call; Claude Code does at both."""


class Gateway:
    """Serves every dialect from the parts on the desk.

    Args:
        desk: gives the desk of this moment; a call keeps the one that it began with.
    """

    def __init__(self, desk: Callable[[], Desk]) -> None:
        self._desk = desk
        self._routes: dict[str, dict[str, Handler]] = {
            **{door.path: {"POST": _generating(door)} for door in (CHAT, RESPONSES, MESSAGES)},
            embeddings.DOOR.path: {"POST": _embed},
            count_tokens.DOOR.path: {"POST": count_tokens.answer},
            MODELS: {"GET": _models},
            MODEL: {"GET": _model},
            "/health": {"GET": _health, "HEAD": _health},
            "/ready": {"GET": _ready},
            "/metrics": {"GET": _metrics},
            "/openapi.json": {"GET": openapi.answer},
            **{path: {"GET": handler} for path, handler in admin.PAGES.items()},
            admin.EXPLAIN: {"POST": admin.explain},
            items.PATH: {"POST": items.put},
            **{probe: {"GET": _health, "HEAD": _health} for probe in PROBES},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong on the way is told in the endpoint's dialect."""
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway serves HTTP, not {scope['type']}")
        desk = self._desk()
        try:
            page = pages.admit(scope, keyless=desk.accounts.keyless, allowed=desk.allowed_origins)
            if page is not None:
                send = pages.readable(send, page)
                if pages.is_preflight(scope):
                    await pages.answer_preflight(scope, send)
                    return
            await self._route(scope)(desk, scope, receive, send)
        except BreakevenError as error:
            await respond_error(send, error, dialect=_dialect(scope))
        except ClientLeft:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            await respond_error(send, gateway_fault(), dialect=_dialect(scope))

    def _route(self, scope: Scope) -> Handler:
        path: str = scope["path"]
        methods = self._routes.get(path) or self._routes.get(_pattern(path))
        if methods is None:
            raise NoSuchEndpoint(f"no such endpoint: {path}", remedy=f"Served are {', '.join(self._routes)}.")
        handler = methods.get(scope["method"])
        if handler is None:
            raise MethodNotAllowed(f"{scope['method']} {path}: not allowed", remedy=f"Use {', '.join(methods)}.")
        return handler


def _pattern(path: str) -> str:
    """The route of a path that holds a name; empty when there is none."""
    if path.startswith(f"{MODELS}/"):
        return MODEL
    return items.PATH if items.agent_of(path) else ""


def _dialect(scope: Scope) -> Dialect:
    return "anthropic" if scope["path"].startswith(MESSAGES.path) else "openai"


def _generating(door: Door) -> Handler:
    async def generate(desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        caller = desk.accounts.identify(presented_secret(headers))
        body = await read_body(scope, receive, desk.max_body_bytes)
        request = parse_request(door.dialect, body)
        visit = Visit(door, headers, caller, read_labels(headers, request.document, caller))

        def call(send: Send) -> PlannedCall:
            return Generation(desk, visit, send, request)

        await answer_once(desk, visit, body, call, receive, send)

    return generate


async def _embed(desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    caller = desk.accounts.identify(presented_secret(headers))
    body = await read_body(scope, receive, desk.max_body_bytes)
    document = parse_object(body)
    model = read_model(document)
    visit = Visit(embeddings.DOOR, headers, caller, read_labels(headers, document, caller))

    def call(send: Send) -> PlannedCall:
        return embeddings.Embeddings(desk, visit, send, document, model, len(body))

    await answer_once(desk, visit, body, call, receive, send)


async def _models(desk: Desk, scope: Scope, _receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    desk.accounts.identify(presented_secret(headers))
    models = [_described(route) for route in desk.table]
    names = [route.name for route in desk.table]
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None, "has_more": False}
    await respond_json(send, {"object": "list", "data": models, **ends})


async def _model(desk: Desk, scope: Scope, _receive: Receive, send: Send) -> None:
    desk.accounts.identify(presented_secret(dict(scope["headers"])))
    await respond_json(send, _described(desk.table.find(scope["path"].removeprefix(f"{MODELS}/"))))


def _described(route: Route) -> Json:
    """A model in the shapes of both dialects at once."""
    return {
        "id": route.name,
        "object": "model",
        "type": "model",
        "display_name": route.name,
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": route.provider.name,
        "context_length": route.context,
        "locality": route.provider.locality,
        "note": route.note,
    }


async def _health(_desk: Desk, _scope: Scope, _receive: Receive, send: Send) -> None:
    await respond_json(send, {"status": "ok", "version": __version__})


async def _ready(desk: Desk, _scope: Scope, _receive: Receive, send: Send) -> None:
    readiness = desk.readiness()
    status = 200 if readiness.ready else 503
    await respond_json(send, {"ready": readiness.ready, "checks": readiness.checks}, status)


async def _metrics(desk: Desk, scope: Scope, _receive: Receive, send: Send) -> None:
    desk.accounts.identify(presented_secret(dict(scope["headers"])))
    await respond(send, 200, desk.metrics.text(), ((b"content-type", CONTENT_TYPE),))
