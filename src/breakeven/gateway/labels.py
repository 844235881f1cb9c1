"""What a caller says of a call: by header, else in ``metadata``; and what its key says for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, get_args

import msgspec

from breakeven.accounts.keys import Caller
from breakeven.errors import MalformedBody
from breakeven.privacy.clearance import Label
from breakeven.providers.base import Priority

Word = TypeVar("Word", bound=str)
MAX_LABEL_CHARACTERS = 200


class Labels(msgspec.Struct, frozen=True):
    """A call's labels, each ``None`` where nobody gave one.

    Attributes:
        key: name of the caller's key.
        agent / task / chain: who calls, to do what, as a step of which chain.
        data: whether its data may leave the machine, by who said so.
        deadline_seconds: how long the caller will wait for the whole answer.
        priority: of its work on the box.
        traceparent: W3C trace context of the caller's span.
    """

    key: str | None
    agent: str | None
    task: str | None
    chain: str | None
    data: Mapping[str, Label | None]
    deadline_seconds: float | None
    priority: Priority | None
    traceparent: str | None = None


def read_labels(headers: Mapping[bytes, bytes], document: Mapping[str, Any], caller: Caller) -> Labels:
    """Labels from headers ``x-breakeven-…``, else from ``metadata``; what the key fixes goes before both.

    Raises:
        MalformedBody: naming a label whose value means nothing.
    """
    metadata = document.get("metadata")
    said = dict(metadata) if isinstance(metadata, dict) else {}
    said.update((k[12:].decode(), _text(v)) for k, v in headers.items() if k.startswith(b"x-breakeven-"))
    traceparent = headers.get(b"traceparent")
    if not said and traceparent is None:
        return _fixed_by_key(caller)

    def label(name: str) -> str | None:
        value = said.get(name)
        if not isinstance(value, str) or not value:
            return None
        if len(value) > MAX_LABEL_CHARACTERS:
            raise MalformedBody(f"x-breakeven-{name}: {len(value)} characters, {MAX_LABEL_CHARACTERS} are allowed")
        if any(character < " " or character == "\x7f" for character in value):
            raise MalformedBody(f"x-breakeven-{name} = {value!r}: control characters are not allowed")
        return value

    return Labels(
        key=caller.name,
        agent=caller.agent or label("agent"),
        task=caller.task or label("task"),
        chain=label("chain"),
        data={"the call": _one_of("data", label("data"), get_args(Label)), f"key {caller.name}": caller.data},
        deadline_seconds=_seconds(label("deadline-seconds")),
        priority=_one_of("priority", label("priority"), get_args(Priority)),
        traceparent=None if traceparent is None else traceparent[:MAX_LABEL_CHARACTERS].decode("latin-1"),
    )


def _text(value: bytes) -> str:
    """A header's text: UTF-8, or latin-1, in which older clients write what is not ASCII.

    >>> _text("Müller".encode()) == _text("Müller".encode("latin-1")) == "Müller"
    True
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@lru_cache(maxsize=256)
def _fixed_by_key(caller: Caller) -> Labels:
    """Labels of a call that says nothing itself."""
    data: dict[str, Label | None] = {f"key {caller.name}": caller.data}
    return Labels(caller.name, caller.agent, caller.task, None, data, None, None)


def _one_of(name: str, value: str | None, allowed: tuple[Word, ...]) -> Word | None:
    if value is None or value in allowed:
        return value
    raise MalformedBody(f"x-breakeven-{name} = {value!r}: expected one of {', '.join(allowed)}")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise MalformedBody(f"x-breakeven-deadline-seconds = {text!r}: expected a number of seconds above 0")
    return seconds
