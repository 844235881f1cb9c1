"""The seam behind which every server that answers calls stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from breakeven.ledger.records import Locality


class Reply(Protocol):
    """An answer under way: status and headers are here, the body is still coming."""

    status: int

    def header(self, name: str) -> str | None:
        """A response header, by name in any case."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            StreamCut: when the connection breaks or stays silent too long before the body's end.
        """
        ...


class Provider(Protocol):
    """A server that answers calls in the OpenAI dialect.

    Attributes:
        name: its name in the configuration.
        locality: whether calls to it stay on machines of the owner.
        catalog: its name in the price book; ``None`` when its prices are unknown.
        is_engine: whether it is llama.cpp run by us, which reports timings with each token.
    """

    name: str
    locality: Locality
    catalog: str | None
    is_engine: bool

    def send(self, path: str, body: bytes) -> AbstractAsyncContextManager[Reply]:
        """POST a JSON body to ``path`` (below ``/v1``); leaving the context closes the exchange.

        Raises:
            EngineUnavailable, UpstreamError: when no answer begins.
        """
        ...
