"""A request as the box sees it: how its prompt begins, how long it is, whose it probably is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from breakeven.box.prefix import BLOCK_CHARACTERS, Prefix, prefix_of

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
HEAD_ROLES = ("system", "developer")
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict")
GENERATING = ("/chat/completions", "/completions")
"""Paths on which llama.cpp takes a slot by number."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request asks of an engine.

    Attributes:
        texts: the prompt in the order in which templates put it: tools, system, messages.
        head_characters: of the tools and the leading system messages, which tend to be sent again.
        prefix: hashes of its blocks.
        limit: most tokens to generate, where the caller said.
        generates: whether it makes text, and so takes a slot by number.
    """

    path: str
    document: dict[str, Any]
    texts: tuple[str, ...]
    head_characters: int
    prefix: Prefix
    limit: int | None
    generates: bool

    @property
    def characters(self) -> int:
        """Length of the prompt."""
        return sum(map(len, self.texts))

    @property
    def head_blocks(self) -> int:
        """Whole blocks that the head fills."""
        return self.head_characters // BLOCK_CHARACTERS

    @property
    def owner(self) -> str:
        """A name for whoever sends prompts that begin like this one."""
        if not self.prefix:
            return self.path
        return f"prompt:{self.prefix[max(0, min(self.head_blocks, len(self.prefix)) - 1)] & 0xFFFFFFFF:08x}"

    @property
    def tells_progress(self) -> bool:
        """Whether an engine that can tells how far it is while it computes the prompt."""
        return self.path == "/chat/completions" and bool(self.document.get("stream"))

    def body_for_slot(self, slot: int) -> bytes:
        """The body for llama.cpp: served in this slot, its beginning reused, its progress told while it is prefilled.

        A server that tells of its progress notices at the next batch that nobody listens any more; another computes
        the rest of an abandoned prompt first.
        """
        pinned = {"cache_prompt": True, **self.document, "id_slot": slot}
        if self.tells_progress:
            pinned["return_progress"] = True
        return _encode(pinned)


def read_work(path: str, body: bytes) -> Work:
    """Read a JSON request in any of the dialects; what is no object has no prompt."""
    try:
        document = _decode(body)
    except msgspec.DecodeError:
        document = {}
    head: list[str] = []
    rest: list[str] = []
    if tools := document.get("tools"):
        head.append(_text(tools))
    if system := document.get("system") or document.get("instructions"):
        head.append(_text(system))
    messages = document.get("messages")
    if not isinstance(messages, list):
        messages = [prompt] if (prompt := document.get("prompt", document.get("input"))) is not None else []
    for message in messages:
        leads = not rest and isinstance(message, dict) and message.get("role") in HEAD_ROLES
        (head if leads else rest).append(_text(message))
    limits = [value for key in LIMITS if isinstance(value := document.get(key), int) and value > 0]
    texts = (*head, *rest)
    return Work(
        path=path,
        document=document,
        texts=texts,
        head_characters=sum(map(len, head)),
        prefix=prefix_of(texts),
        limit=min(limits, default=None),
        generates=path in GENERATING and bool(document),
    )


def _text(part: object) -> str:
    if isinstance(part, dict) and isinstance(part.get("content"), str) and len(part) == 2:
        return f"{part.get('role')}\n{part['content']}\n"
    return part if isinstance(part, str) else _encode(part).decode()
