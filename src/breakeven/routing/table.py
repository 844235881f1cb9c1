"""Which provider serves the model that a caller names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
    """

    name: str
    provider: Provider
    model: str
    reason: str
    context: int | None = None
    note: str | None = None


class RoutingTable:
    """All routes by name."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

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
