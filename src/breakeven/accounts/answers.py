"""An answer as it was given, kept to be given again; and what names the request that it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

LABELS = ("metadata", "user")
"""Fields of a request that say who asks, and do not change what is answered."""


class Answer(msgspec.Struct, frozen=True):
    """A whole HTTP answer.

    Attributes:
        headers: those that belong to the content, such as its type; names in lower case.
        body: as it was sent; of a stream all its events, to be sent as a stream again.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes to keep."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    @property
    def is_stream(self) -> bool:
        """Whether it was sent as server-sent events."""
        return any(name == "content-type" and value.startswith("text/event-stream") for name, value in self.headers)


def fingerprint(*parts: bytes) -> str:
    """Names a request by its content. Parts cannot run into each other.

    >>> fingerprint(b"ab", b"c") == fingerprint(b"a", b"bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def canonical(document: Mapping[str, Any]) -> bytes:
    """A JSON request with its fields in order and without labels.

    >>> canonical({"b": 1, "a": [2], "user": "x"})
    b'{"a":[2],"b":1}'
    """
    content = {name: value for name, value in document.items() if name not in LABELS}
    return msgspec.json.encode(content, order="sorted")
