"""The ASGI application: a dictionary of routes, nothing between them and the wire."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from breakeven import __version__
from breakeven.errors import BreakevenError, RequestError
from breakeven.gateway import chat, embeddings
from breakeven.gateway.asgi import (
    ClientLeft,
    Receive,
    Scope,
    Send,
    read_body,
    respond_error,
    respond_json,
)
from breakeven.gateway.desk import Desk

log = logging.getLogger(__name__)
Handler: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gateway:
    """Serves the OpenAI dialect from the parts on the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._routes: dict[str, dict[str, Handler]] = {
            chat.ENDPOINT: {"POST": self._chat},
            embeddings.ENDPOINT: {"POST": self._embeddings},
            "/v1/models": {"GET": self._models},
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong on the way is told in the OpenAI error shape."""
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway serves HTTP, not {scope['type']}")
        try:
            await self._route(scope)(scope, receive, send)
        except BreakevenError as error:
            await respond_error(send, error)
        except ClientLeft:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            await respond_error(
                send, BreakevenError("the gateway has a fault", remedy="Its log has the details; please report them.")
            )

    def _route(self, scope: Scope) -> Handler:
        path: str = scope["path"]
        methods = self._routes.get(path)
        if methods is None:
            unknown = RequestError(f"no such endpoint: {path}", remedy=f"Served are {', '.join(self._routes)}.")
            unknown.status = 404
            raise unknown
        handler = methods.get(scope["method"])
        if handler is None:
            allowed = ", ".join(methods)
            wrong = RequestError(f"{scope['method']} {path}: not allowed", remedy=f"Use {allowed}.")
            wrong.status = 405
            raise wrong
        return handler

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._desk.keys.identify(scope)
        completion = chat.ChatCompletion(self._desk, scope, send, key)
        await completion.answer(await read_body(scope, receive, self._desk.max_body_bytes), receive)

    async def _embeddings(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._desk.keys.identify(scope)
        body = await read_body(scope, receive, self._desk.max_body_bytes)
        await embeddings.answer(self._desk, scope, send, key, body)

    async def _models(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self._desk.keys.identify(scope)
        models = [
            {
                "id": route.name,
                "object": "model",
                "created": 0,
                "owned_by": route.provider.name,
                "context_length": route.context,
                "locality": route.provider.locality,
                "note": route.note,
            }
            for route in self._desk.table
        ]
        await respond_json(send, {"object": "list", "data": models})

    async def _health(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond_json(send, {"status": "ok", "version": __version__})

    async def _ready(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        readiness = self._desk.readiness()
        status = 200 if readiness.ready else 503
        await respond_json(send, {"ready": readiness.ready, "checks": readiness.checks}, status)
