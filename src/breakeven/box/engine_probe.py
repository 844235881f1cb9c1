"""What the embedded engine's supervisor asks of its server: health, slots, context, the canary prompt."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.box import canary
from breakeven.box.supervision import Supervision


class EngineProbe:
    """Asks the server, between `open` and `close`.

    Args:
        key: the server's secret.

    Attributes:
        address: of the server; ``None`` while there is none.
    """

    def __init__(self, supervision: Supervision, key: str) -> None:
        self.address: str | None = None
        self._key = key
        self._timeout = timedelta(seconds=supervision.check_timeout)
        self._canary_timeout = timedelta(seconds=supervision.canary_timeout)
        self._client: Client | None = None

    def open(self) -> None:
        """Make ready to ask."""
        self._client = ClientBuilder().no_proxy().http1_only().pool_max_idle_per_host(0).timeout(self._timeout).build()

    async def close(self) -> None:
        """Close connections. Doing it twice does no harm."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def answers(self) -> bool:
        """Whether it answers a health check in the time allowed."""
        try:
            status, _ = await self._get("/health")
        except RequestError:
            return False
        return status == HTTPStatus.OK

    async def serves_calls(self) -> bool:
        """Whether a slot is at work."""
        try:
            _, slots = await self._get("/slots")
        except RequestError:  # it answers between two batches
            return True
        return any(slot["is_processing"] for slot in slots)

    async def context(self) -> int:
        """Tokens of context of each slot; raises ``RequestError``."""
        _, properties = await self._get("/props")
        context: int = properties["default_generation_settings"]["n_ctx"]
        return context

    async def canary_answer(self, *, embeds: bool) -> canary.Answer | None:
        """The answer to the canary prompt; ``None`` when there is none in time.

        Args:
            embeds: whether it serves embeddings.
        """
        assert self._client is not None  # noqa: S101  opened by the caller
        path, question = ("/v1/embeddings", canary.TEXT) if embeds else ("/completion", canary.REQUEST)
        request = self._client.post(f"{self.address}{path}").bearer_auth(self._key).timeout(self._canary_timeout)
        try:
            response = await request.body_json(dict(question)).build().send()
            answer = await response.json()
        except RequestError:
            return None
        if response.status != HTTPStatus.OK:
            return None
        return canary.vector(answer["data"][0]["embedding"]) if embeds else answer["content"]

    async def _get(self, path: str) -> tuple[int, Any]:
        assert self._client is not None  # noqa: S101  opened by the caller
        response = await self._client.get(f"{self.address}{path}").bearer_auth(self._key).build().send()
        return response.status, await response.json()
