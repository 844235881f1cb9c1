"""A caller's request for a model's answer, whatever its dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from breakeven.wire.body import Json
from breakeven.wire.reader import TIER_FIELDS, other_tier

Dialect: TypeAlias = Literal["openai", "anthropic", "responses"]
Need: TypeAlias = Literal[
    "tools", "hosted_tools", "vision", "audio", "files", "json", "json_schema", "reasoning", "logprobs", "stored_state"
]
"""What whoever answers must be able to do.

``hosted_tools`` are run by the provider (web search, code), ``stored_state`` is kept by it between calls.
"""

MEDIA_BYTES = 50_000
"""What an image, or a file sent by reference, adds to an upper bound of the prompt: more tokens than any public
provider counts for one image, whose encoded size says nothing of its tokens. The dearest scheme, GPT-4o mini's at high
detail, comes to 2,833 + 8 × 5,667."""


TOOLS_BYTES = 2048
"""What tools or a schema add: more tokens than any public provider spends on explaining them to its model."""


class Part(NamedTuple):
    """A piece of a prompt: its text, or a medium and the characters its encoded content takes in the body."""

    kind: Literal["text", "vision", "audio", "files"]
    text: str = ""
    encoded: int = 0


@dataclass(frozen=True)
class ModelRequest:
    """A checked request; ``document`` is the body as the client sent it, unknown fields included.

    Attributes:
        model: the model asked for.
        stream: whether the client wants the answer as a stream.
        wants_usage: whether the client wants the usage in its stream.
        max_output_tokens: the client's own limit on generated tokens of one answer.
        choices: answers asked for, each of which is generated and billed.
        body_bytes: size of the body.
    """

    document: Json
    model: str
    stream: bool
    wants_usage: bool
    max_output_tokens: int | None = None
    choices: int = 1
    body_bytes: int = field(default=0, compare=False)
    dialect: ClassVar[Dialect]

    def parts(self) -> Iterator[Part]:
        """The messages' pieces in the order of the prompt, system prompt first, tool definitions left out."""
        raise NotImplementedError

    def tools(self) -> list[Json]:
        """Tool definitions as the dialect writes them."""
        tools = self.document.get("tools")
        return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []

    def _asked(self) -> Iterator[Need]:
        """Needs that fields other than the messages tell of."""
        raise NotImplementedError

    @cached_property
    def media(self) -> list[Part]:
        """The messages' pieces that are no text."""
        return [part for part in self.parts() if part.kind != "text"]

    @cached_property
    def needs(self) -> frozenset[Need]:
        """What whoever answers must be able to do."""
        asked: set[Need] = {part.kind for part in self.media if part.kind != "text"}
        asked.update(self._asked())
        return frozenset(asked)

    @cached_property
    def tier(self) -> str | None:
        """The tier that it asks to be billed by, where that is not the standard one."""
        return other_tier(*(self.document.get(name) for name in TIER_FIELDS))

    def text_characters(self) -> int:
        """Characters of text in the messages, media and tool definitions left out: the basis of estimates."""
        return sum(len(part.text) for part in self.parts())

    def prompt_bytes(self) -> int:
        """An upper bound of the prompt's tokens: bytes of all that is sent, media at a flat :data:`MEDIA_BYTES`.

        No tokeniser makes more tokens than bytes, and JSON's own syntax outweighs a chat template's. Files
        count with their encoded bytes, tools and schemas with :data:`TOOLS_BYTES` more.
        """
        bound = self.body_bytes
        if not self.needs.isdisjoint(("tools", "hosted_tools", "json_schema")):
            bound += TOOLS_BYTES
        for part in self.media:
            if part.kind == "vision" or not part.encoded:
                bound += MEDIA_BYTES - part.encoded
        return bound

    def prefix_text(self, limit: int) -> str:
        """The first ``limit`` characters of what a prompt cache would hold: tools, then messages in order."""
        pieces: list[str] = []
        length = 0
        for tool in self.tools():
            pieces.append(str(tool))
            length += len(pieces[-1])
        if length < limit:
            for part in self.parts():
                pieces.append(part.text)
                length += len(part.text) + 1
                if length >= limit:
                    break
        return "\x1e".join(pieces)[:limit]
