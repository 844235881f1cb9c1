"""What a request asks for and what it gets, in no dialect.

Markers in the last message steer the answer: ``[sim:tokens=200]`` its length, ``[sim:say=...]`` its very words,
``[sim:tool]`` or ``[sim:tool=name]`` a tool call, ``[sim:fault=...]`` a fault.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from breakeven.cloudsim import content
from breakeven.cloudsim.tokens import tokenise

Json: TypeAlias = dict[str, Any]
CacheTtl: TypeAlias = Literal["5m", "1h"]
Ending: TypeAlias = Literal["end", "length", "stop_sequence", "tool"]

_MARKER = re.compile(r"\[sim:([a-z]+)(?:=([^\]]*))?\]")
MOST_TOKENS = 1_000_000
SHORTEST, LONGEST = 12, 60
"""Bounds of an answer's length in tokens when nothing else sets it."""


class BadRequest(Exception):
    """The request is not what the dialect takes: the simulated provider's own 400."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the prompt: its text, its tokens, and for how long it asks to be cached up to here."""

    text: str
    tokens: int
    ttl: CacheTtl | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer and the schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """A request in no dialect.

    Attributes:
        model: as asked for, without a fault suffix.
        blocks: the prompt in the order in which a cache sees it.
        last_text: the text of the last message, where markers are looked for.
        answers_tool: whether the last message brings a tool's result, which is answered in words.
        max_output: most tokens to generate; ``None`` for no limit.
        tool_choice: ``none``, ``auto``, ``required`` or the name of a tool.
        schema: what the answer must be an instance of; ``None`` for prose.
        thinking: tokens to think before answering; 0 for none.
        choices: how many answers (OpenAI's ``n``).
        user: the end user as the caller named them, kept on the invoice.
        fingerprint: what content and ids are drawn from.
    """

    model: str
    blocks: tuple[Block, ...]
    last_text: str
    stream: bool
    fingerprint: str
    answers_tool: bool = False
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    schema: Mapping[str, Any] | None = None
    thinking: int = 0
    choices: int = 1
    user: str | None = None
    markers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt."""
        return sum(block.tokens for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Part:
    """A run of the answer: thinking, text, or a tool call whose tokens are its arguments."""

    kind: Literal["thinking", "text", "tool"]
    tokens: tuple[str, ...]
    name: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The tokens put together."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was generated for one choice."""

    parts: tuple[Part, ...]
    ending: Ending
    stop_sequence: str | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens generated, thinking included."""
        return sum(len(part.tokens) for part in self.parts)

    @property
    def thinking_tokens(self) -> int:
        """Tokens spent on thinking."""
        return sum(len(part.tokens) for part in self.parts if part.kind == "thinking")


def read_markers(text: str) -> dict[str, str]:
    """The markers in a text.

    >>> read_markers("please [sim:tokens=7] now [sim:tool]")
    {'tokens': '7', 'tool': ''}
    """
    return dict(_MARKER.findall(text))


def fingerprint(document: Mapping[str, Any]) -> str:
    """The same for the same request, streamed or not, at whichever model suffix."""
    kept = {key: value for key, value in document.items() if key not in ("stream", "stream_options")}
    kept["model"] = str(kept.get("model")).split("+", 1)[0]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def answer(order: Order, choice: int = 0) -> Answer:
    """Generate one choice of the answer, the same each time."""
    rng = random.Random(f"{order.fingerprint}/{choice}")
    parts: list[Part] = []
    if order.thinking:
        parts.append(Part("thinking", tuple(tokenise(content.prose(rng, order.thinking)))))
    tool = _tool_to_call(order)
    if tool is not None:
        arguments = content.json_instance(tool.schema, rng)
        parts.append(Part("tool", tuple(tokenise(arguments)), tool.name, f"{rng.getrandbits(96):024x}"))
        return _limited(order, parts, "tool")
    text, stop = _cut_at_stop(_words(order, rng), order.stop)
    parts.append(Part("text", tuple(tokenise(text))))
    return _limited(order, parts, "end" if stop is None else "stop_sequence", stop)


def _tool_to_call(order: Order) -> Tool | None:
    if not order.tools or order.tool_choice == "none":
        return None
    named = order.markers.get("tool") or order.tool_choice
    found = next((tool for tool in order.tools if tool.name == named), None)
    if found is not None:
        return found
    asked = order.tool_choice == "required" or ("tool" in order.markers and not order.answers_tool)
    return order.tools[0] if asked else None


def _words(order: Order, rng: random.Random) -> str:
    if "say" in order.markers:
        return order.markers["say"]
    if order.schema is not None:
        return content.json_instance(order.schema, rng)
    length = order.markers.get("tokens", "")
    return content.prose(rng, min(int(length), MOST_TOKENS) if length.isdigit() else rng.randint(SHORTEST, LONGEST))


def _cut_at_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _limited(order: Order, parts: list[Part], ending: Ending, stop: str | None = None) -> Answer:
    left = order.max_output
    if left is None:
        return Answer(tuple(parts), ending, stop)
    kept: list[Part] = []
    for part in parts:
        if len(part.tokens) > left:
            kept.append(Part(part.kind, part.tokens[:left], part.name, part.id))
            return Answer(tuple(kept), "length")
        kept.append(part)
        left -= len(part.tokens)
    return Answer(tuple(kept), ending, stop)
