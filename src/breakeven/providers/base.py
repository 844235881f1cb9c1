"""The seam behind which every server that answers calls stands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Literal, Protocol, TypeAlias

import msgspec

from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import Clearance
from breakeven.wire.request import Dialect

Availability: TypeAlias = Literal["ready", "loading", "gone"]
"""Whether a server can take a call now, will once its model is loaded, or cannot."""

Priority: TypeAlias = Literal["interactive", "agent", "batch"]


class Hints(msgspec.Struct, frozen=True):
    """What a box may use to order its work; none of it reaches a server.

    Attributes:
        agent / chain: who calls, and which chain of calls this is a step of.
        priority: interactive before agent before batch.
        deadline_seconds: from now; ``None`` without one.
        prompt: the leading text of the prompt, in order, for recognising shared prefixes; kept in memory only.
        output_tokens: most tokens that will be generated, where the caller said.
    """

    agent: str | None = None
    chain: str | None = None
    priority: Priority = "interactive"
    deadline_seconds: float | None = None
    prompt: str = ""
    output_tokens: int | None = None


NO_HINTS = Hints()


def _heedless(_key: str) -> None:
    """What a caller that does not care which key is used is told."""


class ProviderRequest(msgspec.Struct, frozen=True):
    """What is sent to a server.

    Attributes:
        path: below the interface's root, for instance ``/chat/completions``.
        body: JSON.
        headers: beyond content type and authorization, names in lower case.
        clearance: demanded by providers outside the machine.
        hints: for the box's scheduler.
        asked_with: told the name of each key that it is sent with, where the provider has any; the last one answers.
        silence_seconds: longest silence before and within the answer, if less than its server may take.
    """

    path: str
    body: bytes
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    clearance: Clearance | None = None
    hints: Hints = NO_HINTS
    asked_with: Callable[[str], None] = _heedless
    silence_seconds: float = inf


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
    """A server that answers calls.

    Attributes:
        name: its name in the configuration.
        dialects: what it speaks, best first; a call in one of them passes through untranslated.
        locality: whether calls to it stay on machines of the owner.
        catalog: its name in the price book; ``None`` when its prices are unknown.
        is_engine: whether it is llama.cpp run by us, which reports timings with each token.
    """

    name: str
    dialects: tuple[Dialect, ...]
    locality: Locality
    catalog: str | None
    is_engine: bool

    def availability(self) -> Availability:
        """What is known of it without asking; a server run by others counts as ready until it fails."""
        ...

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        """POST a request; leaving the context closes the exchange.

        Raises:
            DataStays: the provider is outside the machine and the request carries no clearance.
            EngineUnavailable, UpstreamError: when no answer begins.
        """
        ...
