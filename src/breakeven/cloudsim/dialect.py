"""What every dialect of the simulated cloud offers: reading a request, writing an answer whole or as events."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from breakeven.cloudsim.order import Answer, BadRequest, Json, Order
from breakeven.cloudsim.prompt_cache import PromptUsage

MOST_TOKENS_AN_EVENT = 4


@dataclass(frozen=True, slots=True)
class Event:
    """One event on the wire and how many tokens had to be generated for it."""

    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """One request with what is answered to it.

    Attributes:
        request_id: the provider's name for the exchange, in a header and on the invoice.
        created: Unix time in seconds.
        report_usage: false leaves usage out, as a fault.
    """

    request_id: str
    created: int
    order: Order
    document: Json
    prompt: PromptUsage
    answers: Sequence[Answer]
    report_usage: bool = True

    @property
    def output_tokens(self) -> int:
        """Tokens generated over all choices."""
        return sum(answer.output_tokens for answer in self.answers)


class Dialect(Protocol):
    """One endpoint's way of speaking; ``provider`` names whose it is, ``malformed`` is an event that cannot be read."""

    provider: str
    path: str
    malformed: bytes

    def read(self, document: Json) -> Order:
        """What the request asks for.

        Raises:
            BadRequest: when it is not what the endpoint takes.
        """
        ...

    def whole(self, served: Served) -> Json:
        """The plain answer."""
        ...

    def events(self, served: Served) -> Iterator[Event]:
        """The streamed answer."""
        ...

    def error_event(self) -> bytes:
        """The event that ends a stream badly."""
        ...


def pieces(tokens: Sequence[str], seed: str) -> Iterator[tuple[str, int]]:
    """The tokens in the uneven portions in which they are sent: text and number of tokens."""
    rng = random.Random(seed)
    start = 0
    while start < len(tokens):
        end = min(len(tokens), start + rng.randint(1, MOST_TOKENS_AN_EVENT))
        yield "".join(tokens[start:end]), end - start
        start = end


def encode(document: object) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def unnamed_event(document: object, tokens: int = 0) -> Event:
    """An event with data alone, as OpenAI's chat stream sends."""
    return Event(b"data: " + encode(document) + b"\n\n", tokens)


def named_event(document: Mapping[str, Any], tokens: int = 0) -> Event:
    """An event named by the document's ``type``."""
    return Event(b"event: " + str(document["type"]).encode() + b"\ndata: " + encode(document) + b"\n\n", tokens)


def require_model(document: Json) -> str:
    """The model, without a fault suffix.

    Raises:
        BadRequest: when there is none.
    """
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", "model")
    return model.split("+", 1)[0]


def require_list(document: Json, name: str) -> list[Json]:
    """A list of objects that may not be empty.

    Raises:
        BadRequest: when it is anything else.
    """
    value = document.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise BadRequest(f"{name}: expected a non-empty list of objects", name)
    return value


def positive(document: Json, *names: str, most: int | None = None) -> int | None:
    """The first of these fields that is given, a whole number of at least 1 and no more than ``most``.

    Raises:
        BadRequest: when it is anything else.
    """
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadRequest(f"{name}: expected an integer of at least 1, got {value!r}", name)
        if most is not None and value > most:
            raise BadRequest(f"{name}: expected at most {most}, got {value}", name)
        return value
    return None


def string_of(value: Any) -> str | None:
    """A text, or nothing."""
    return value if isinstance(value, str) and value else None
