"""The simulated cloud: both providers' endpoints on one port, and the controls under ``/_sim/``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import count as counter
from typing import Any

from breakeven.cloudsim import dialect
from breakeven.cloudsim.anthropic_messages import AnthropicMessages
from breakeven.cloudsim.counters import Seen, shown_headers
from breakeven.cloudsim.dialect import Dialect
from breakeven.cloudsim.exchange import COUNT_TOKENS, Exchange
from breakeven.cloudsim.http import HttpServer, Request
from breakeven.cloudsim.invoice import key_name
from breakeven.cloudsim.openai_chat import OpenAIChat
from breakeven.cloudsim.openai_responses import OpenAIResponses
from breakeven.cloudsim.order import BadRequest, Json
from breakeven.cloudsim.serving import JSON
from breakeven.cloudsim.state import State, Terms
from breakeven.errors import InputError

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages())


class Cloud:
    """A provider of the OpenAI and of the Anthropic dialect on one port.

    Args:
        terms: what it offers.
        clock: monotonic seconds, for caches and limits.
    """

    def __init__(self, terms: Terms, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = State(terms, clock)
        self.server = HttpServer(self.handle)
        self._numbers = counter(1)
        self._speaks = {speaks.path: speaks for speaks in DIALECTS}
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, request: Request) -> None:
        """Answer one request."""
        if request.path.startswith("/_sim/"):
            await self._control(request)
            return
        counters = self.state.counters
        counters.in_flight += 1
        self._idle.clear()
        try:
            await self._answer(request)
        finally:
            counters.in_flight -= 1
            if not self.state.counters.in_flight:
                self._idle.set()

    async def close(self) -> None:
        """Stop serving."""
        await self.server.close()

    def _note(self, request: Request, key: str | None, document: Json | None) -> None:
        body = document or {}
        metadata = body.get("metadata")
        user = body.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
        model, shown = body.get("model"), shown_headers(request.headers)
        self.state.counters.note(
            Seen(
                method=request.method,
                path=request.path,
                query=request.query,
                key=key,
                model=model if isinstance(model, str) else None,
                user=user if isinstance(user, str) else None,
                headers=shown,
                fields=tuple(sorted(body)),
            )
        )

    async def _answer(self, request: Request) -> None:
        provider = "anthropic" if "anthropic-version" in request.headers else "openai"
        speaks = self._speaks.get(request.path)
        provider = speaks.provider if speaks else "anthropic" if request.path == COUNT_TOKENS else provider
        secret = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        key = key_name(secret) if secret else None
        document = _document(request.body)
        self._note(request, key, document)
        exchange = Exchange(
            self.state, self.server, request, provider, speaks, key or "", f"req_{next(self._numbers):024x}"
        )
        if request.method in ("GET", "HEAD"):
            await exchange.look(key)
        elif key is None:
            await exchange.refuse(401, "You didn't provide an API key.", "invalid_api_key")
        elif document is None:
            await exchange.refuse(400, "We could not parse the JSON body of your request.", None)
        else:
            try:
                await exchange.post(document)
            except BadRequest as error:
                await exchange.refuse(400, str(error), "invalid_value", error.param)

    async def _control(self, request: Request) -> None:
        """``/_sim/``: what was billed and counted, faults to order, a new start."""
        status, shown = 200, dict[str, Any]()
        match request.method, request.path:
            case "GET", "/_sim/invoice":
                shown = self.state.invoice.document()
            case "GET", "/_sim/requests":
                shown = self.state.counters.document()
            case "GET", "/_sim/idle":
                await self._idle.wait()
            case "GET", "/_sim/faults":
                shown = self.state.faults.document()
            case "POST", "/_sim/faults":
                ordered = _document(request.body) or {}
                try:
                    self.state.faults.order(
                        queue=ordered.get("queue"),
                        probabilities=ordered.get("probabilities"),
                        seed=ordered.get("seed", 0),
                    )
                    shown = self.state.faults.document()
                except InputError as error:
                    status, shown = 400, {"error": {"message": str(error)}}
            case "DELETE", "/_sim/faults":
                self.state.faults.clear()
            case "POST", "/_sim/reset":
                self.state.reset()
            case _:
                status, shown = 404, {"error": {"message": f"no {request.method} {request.path}"}}
        await request.answer(status, dialect.encode(shown), [JSON])


def _document(body: bytes) -> Json | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
