"""Providers that neither OpenAI's nor Anthropic's dialect reaches, through the optional ``any-llm-sdk``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec

from breakeven.errors import (
    ContextExceeded,
    InputError,
    ModelNotFound,
    RateLimited,
    RequestError,
    StreamCut,
    Unsupported,
    UpstreamError,
)
from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import require
from breakeven.providers.base import Availability, ProviderRequest, Reply
from breakeven.providers.keyring import Key
from breakeven.wire.request import Dialect

_encode = msgspec.json.Encoder().encode
_REFUSALS: Mapping[str, type[RequestError]] = {
    "ContextLengthExceededError": ContextExceeded,
    "ModelNotFoundError": ModelNotFound,
    "UnsupportedParameterError": Unsupported,
    "InvalidRequestError": RequestError,
}


class AnyLlmProvider:
    """A provider by its name in any-llm, asked in the OpenAI dialect.

    Args:
        kind: its name there, for instance ``bedrock``, ``vertexai``, ``azureopenai``.
        key: its API key; ``None`` for those that find their credentials themselves.

    Raises:
        InputError: the package is not installed, or knows no such provider.
    """

    dialects: tuple[Dialect, ...] = ("openai",)
    is_engine = False

    def __init__(
        self, name: str, kind: str, *, locality: Locality, catalog: str | None, key: Key | None, base_url: str | None
    ) -> None:
        try:
            from any_llm import AnyLLM  # noqa: PLC0415 - an optional extra
            from any_llm.exceptions import AnyLLMError  # noqa: PLC0415
        except ImportError as error:
            raise InputError(
                f"providers.{name}.any_llm = {kind!r}: {error}", remedy="pip install 'breakeven[any-llm]'"
            ) from error
        try:
            secret = None if key is None else key.secret
            self._client: Any = AnyLLM.create(kind, secret, base_url, unified_exceptions=True)
        except (AnyLLMError, ImportError) as error:
            raise InputError(f"providers.{name}.any_llm = {kind!r}: {error}") from error
        self._errors: type[Exception] = AnyLLMError
        self.name = name
        self.locality = locality
        self.catalog = catalog
        self._key = key
        self._in_flight = 0
        self._retired = False

    def availability(self) -> Availability:
        """Ready, as far as anybody knows."""
        return "ready"

    @asynccontextmanager
    async def send(self, request: ProviderRequest) -> AsyncIterator[Reply]:
        """Ask, and wait for the answer to begin.

        Raises:
            DataStays: the provider is outside the machine and the request carries no clearance.
            Unsupported: anything but chat completions.
            UpstreamError: when no answer begins.
        """
        if self.locality != "local":
            require(request.clearance, self.name)
        if request.path != "/chat/completions":
            raise Unsupported(f"{self.name} serves chat completions only, not {request.path}")
        document: dict[str, Any] = msgspec.json.decode(request.body)
        if self._key is not None and self._key.name is not None:
            request.asked_with(self._key.name)
        self._in_flight += 1
        try:
            try:
                stream = await self._client.acompletion(**document)
            except self._errors as error:
                raise self._refused(error) from error
            yield _Events(stream, self._errors, self.name)
        finally:
            self._in_flight -= 1
            if self._retired and not self._in_flight:
                await self.close()

    async def retire(self) -> None:
        """Close once the last call in flight has ended."""
        self._retired = True
        if not self._in_flight:
            await self.close()

    async def close(self) -> None:
        """Close the connections of the provider's own SDK, where it has any."""
        close = getattr(getattr(self._client, "client", None), "close", None)
        if close is not None:
            await close()

    def _refused(self, error: Exception) -> RequestError | UpstreamError:
        kind = type(error).__name__
        if kind in _REFUSALS:
            return _REFUSALS[kind](f"{self.name} refused the request: {error}")
        if kind == "RateLimitError":
            return RateLimited(f"{self.name} is limiting the rate: {error}")
        if kind in ("AuthenticationError", "MissingApiKeyError"):
            return UpstreamError(
                f"{self.name} refused the gateway's credentials", remedy=f"Check providers.{self.name}.key."
            )
        return UpstreamError(f"{self.name} failed: {error}", remedy="The call can be sent again.")


class _Events:
    """The chunks of an answer, as the server-sent events that they stand for."""

    status = HTTPStatus.OK.value

    def __init__(self, stream: AsyncIterator[Any], errors: type[Exception], name: str) -> None:
        self._stream = stream
        self._errors = errors
        self._name = name

    def header(self, name: str) -> str | None:
        return "text/event-stream" if name.lower() == "content-type" else None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield b"data: " + _encode(chunk.model_dump(mode="json", exclude_none=True)) + b"\n\n"
        except self._errors as error:
            raise StreamCut(f"{self._name} broke off its answer: {error}") from error
        yield b"data: [DONE]\n\n"
