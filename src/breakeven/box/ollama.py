"""Ollama's own interface, as far as residency goes: which models are loaded and until when, and loading one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from math import inf, isinf
from types import MappingProxyType
from typing import Any

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError
from pyreqwest.response import Response

from breakeven.errors import EngineUnavailable
from breakeven.units import Seconds

FOREVER: Seconds = inf
LOOK_TIMEOUT: Seconds = 5.0
LOAD_TIMEOUT: Seconds = 900.0
YEARS: Seconds = 365 * 86_400


class _Running(msgspec.Struct):
    name: str
    expires_at: str | None = None


class _AllRunning(msgspec.Struct):
    models: list[_Running] | None = None


class OllamaResidency:
    """Loads models and says how long they stay.

    Args:
        root: where it is, without ``/v1``.
        key: what it, or the proxy before it, wants to be shown; ``None`` for nothing.
    """

    def __init__(self, root: str, key: str | None = None) -> None:
        self.root = root
        self._key = key

    async def resident(self) -> Mapping[str, Seconds | None]:
        """By name, the seconds each loaded model has left; `FOREVER` for one kept for good.

        Raises:
            EngineUnavailable: it does not answer, or not as Ollama does.
        """
        status, body = await self._call("GET", "/api/ps", LOOK_TIMEOUT)
        if status != HTTPStatus.OK:
            raise EngineUnavailable(f"{self.root}/api/ps answered {status}", remedy="Is it an Ollama?")
        try:
            running = msgspec.json.decode(body, type=_AllRunning).models or []
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineUnavailable(f"{self.root}/api/ps: {error}", remedy="Is it an Ollama?") from error
        now = datetime.now(UTC)
        return MappingProxyType({model.name: seconds_left(model.expires_at, now) for model in running})

    async def load(self, model: str, keep: Seconds) -> None:
        """Load it, unless it is, and keep it for so long after its last call; nothing is generated.

        Raises:
            EngineUnavailable: it could not be loaded, with Ollama's words.
        """
        kept = {"model": model, "keep_alive": -1 if isinf(keep) else round(keep)}
        status, body = await self._call("POST", "/api/generate", LOAD_TIMEOUT, {**kept, "stream": False})
        if status == HTTPStatus.BAD_REQUEST:  # a model that embeds does not generate
            status, body = await self._call("POST", "/api/embed", LOAD_TIMEOUT, {**kept, "input": []})
        if status != HTTPStatus.OK:
            raise EngineUnavailable(f"Ollama at {self.root} did not load {model!r}: {_error(body) or status}")

    async def _call(self, method: str, path: str, timeout: Seconds, body: Any = None) -> tuple[int, bytes]:  # noqa: ASYNC109
        limit = timedelta(seconds=timeout)
        try:
            async with ClientBuilder().no_proxy().http1_only().follow_redirects(False).timeout(limit).build() as client:
                request = client.request(method, self.root + path)
                if self._key is not None:
                    request = request.bearer_auth(self._key)
                response: Response = await (request if body is None else request.body_json(body)).build().send()
                return response.status, bytes(await response.bytes())
        except RequestError as error:
            raise EngineUnavailable(f"Ollama at {self.root} does not answer: {error}", remedy="Start it.") from error


def seconds_left(expires_at: Any, now: datetime) -> Seconds | None:
    """Seconds until a model is dropped; `FOREVER` for one that Ollama keeps, whose time lies centuries ahead.

    >>> seconds_left("2026-11-24T10:05:00.123456789Z", datetime(2026, 11, 24, 10, 0, tzinfo=UTC))
    300.0
    """
    if not isinstance(expires_at, str):
        return None
    try:
        seconds, _, zone = expires_at.partition(".")
        offset = zone.lstrip("0123456789") if zone else ""
        left = (datetime.fromisoformat(seconds + offset) - now).total_seconds()
    except (ValueError, OverflowError, TypeError):
        return None
    return FOREVER if left > YEARS else float(round(max(0.0, left)))


def full_name(model: str) -> str:
    """As Ollama lists it: without a tag it is ``latest``.

    >>> full_name("nomic-embed-text"), full_name("hf.co/org/model:Q4_K_M")
    ('nomic-embed-text:latest', 'hf.co/org/model:Q4_K_M')
    """
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _error(body: bytes) -> str | None:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return str(said["error"]) if isinstance(said, dict) and "error" in said else None
