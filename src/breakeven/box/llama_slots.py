"""llama.cpp's interface to its slots: which are at work, and their KV saved to files and restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.errors import EngineUnavailable
from breakeven.units import Seconds, Tokens

ANSWER_SECONDS = 600.0
"""A save or restore waits for its slot and then moves up to gigabytes."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A slot's KV on its way to or from a file."""

    tokens: Tokens
    size: int
    seconds: Seconds


class LlamaSlots:
    """One engine's slots.

    Args:
        root: address without ``/v1``, asked for each request since it changes when the engine restarts.
        key: the secret to present.
    """

    def __init__(self, root: Callable[[], str], key: Callable[[], str | None]) -> None:
        self._root, self._key = root, key
        self._client: Client | None = None

    async def save(self, slot: int, file: str) -> Moved:
        """Write what a slot holds to a file.

        Raises:
            EngineUnavailable: it could not.
        """
        answer = await self._request("POST", f"/slots/{slot}?action=save", {"filename": file})
        return Moved(answer["n_saved"], answer["n_written"], answer["timings"]["save_ms"] / 1e3)

    async def restore(self, slot: int, file: str) -> Moved:
        """Put what a file holds into a slot.

        Raises:
            EngineUnavailable: it could not; the slot is then empty.
        """
        answer = await self._request("POST", f"/slots/{slot}?action=restore", {"filename": file})
        return Moved(answer["n_restored"], answer["n_read"], answer["timings"]["restore_ms"] / 1e3)

    async def busy(self) -> frozenset[int]:
        """Slots at work."""
        return frozenset(slot["id"] for slot in await self._request("GET", "/slots") if slot["is_processing"])

    async def close(self) -> None:
        """Close connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _request(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        if self._client is None:
            timeout = timedelta(seconds=ANSWER_SECONDS)
            self._client = ClientBuilder().no_proxy().http1_only().pool_max_idle_per_host(0).timeout(timeout).build()
        request = self._client.request(method, f"{self._root()}{path}")
        if (key := self._key()) is not None:
            request = request.bearer_auth(key)
        if body is not None:
            request = request.body_json(body)
        try:
            response = await request.build().send()
            answer = await response.json()
        except RequestError as error:
            raise EngineUnavailable(f"the engine did not answer {path}: {error}") from error
        if response.status != HTTPStatus.OK:
            raise EngineUnavailable(f"the engine refused {path}: {answer}")
        return answer
