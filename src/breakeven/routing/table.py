"""Which provider serves the model that a caller names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from breakeven.config import Capability
from breakeven.errors import ModelNotFound
from breakeven.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Route:
    """A name callers may ask for, and what serves it.

    Attributes:
        name: what callers ask for.
        provider: who serves it.
        model: the name by which the provider knows it.
        reason: why calls for ``name`` go there, in words.
        context: context window in tokens, prompt and output together; ``None`` when unknown.
        note: a warning that belongs with the model wherever it is shown.
        max_output_tokens: most tokens it generates for one call; ``None`` when unknown.
        capabilities: what it can do beyond text; ``None`` when unknown.
        retains / trains: whether its provider keeps what it is sent, and may train on it; assumed when unknown.
        limit_field: what its provider calls the limit of output tokens in chat completions.
        omit_fields: fields of a request that its provider refuses.
    """

    name: str
    provider: Provider
    model: str
    reason: str
    context: int | None = None
    note: str | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    retains: bool = True
    trains: bool = True
    limit_field: str = "max_tokens"
    omit_fields: tuple[str, ...] = ()


class RoutingTable:
    """All routes by name."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    @property
    def names(self) -> Mapping[str, Route]:
        """The names that are served."""
        return self._routes

    def find(self, name: str) -> Route:
        """The route for a model name.

        Raises:
            ModelNotFound: listing what is served instead.
        """
        route = self._routes.get(name)
        if route is None:
            served = ", ".join(sorted(self._routes)) or "nothing"
            raise ModelNotFound(f"model = {name!r}: not served here", remedy=f"Served are: {served}.")
        return route
