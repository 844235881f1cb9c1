"""What every dialect's stream reader offers: a stream followed event by event while it passes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.wire.body import Json

Finish: TypeAlias = Literal["stop", "length", "tool_use", "refusal", "content_filter"]


@dataclass(frozen=True, slots=True)
class EngineTimings:
    """What llama.cpp says of one call: seconds of prefill and decode, and tokens so far."""

    prefill: float
    decode: float
    tokens: TokenCounts

    @classmethod
    def read(cls, timings: object) -> EngineTimings | None:
        """Read llama.cpp's ``timings`` object; its ``prompt_n`` leaves out the ``cache_n`` reused tokens."""
        if not isinstance(timings, dict):
            return None
        try:
            counts = TokenCounts.reported(
                input_tokens=int(timings["prompt_n"]),
                output_tokens=int(timings["predicted_n"]),
                input_includes_cached=False,
                cache_read=int(timings.get("cache_n", 0)),
            )
            return cls(float(timings["prompt_ms"]) / 1e3, float(timings["predicted_ms"]) / 1e3, counts)
        except (KeyError, TypeError, ValueError, InputError):
            return None


class ToolCall(NamedTuple):
    """A call of a tool; ``arguments`` is the JSON text that the model wrote, valid or not."""

    name: str
    arguments: str


class Answered(NamedTuple):
    """One of the answers that a request got: its text, the tools it calls, and why it ended."""

    text: str
    tool_calls: list[ToolCall]
    finish: Finish | None


class Fold(Protocol):
    """Folds the events of a stream into the one answer they stand for."""

    def add(self, event: Json) -> None:
        """Take in one event."""
        ...

    def completion(self) -> Json:
        """The whole answer, in the dialect of the stream."""
        ...

    def text(self) -> str:
        """The answer's text, reasoning left out."""
        ...

    def tool_calls(self) -> list[ToolCall]:
        """The tools the answer calls."""
        ...


TIER_FIELDS = ("service_tier", "speed", "inference_geo")
"""Where requests ask for a tier, and Anthropic's usage tells of it."""
OTHER_TIERS = ("flex", "priority", "scale", "batch", "fast", "us")
"""What providers bill at other rates than their list's: service tiers, Anthropic's fast mode and its US inference."""


def other_tier(*said: object) -> str | None:
    """The tier that a request asks for or an answer tells of; ``None`` for the standard one.

    >>> other_tier("standard", "fast"), other_tier("default"), other_tier(None)
    ('fast', None, None)
    """
    return "-".join(tier for tier in OTHER_TIERS if tier in said) or None


class StreamReader:
    """Follows a stream: what to pass on, what was used, whether it came to its end.

    Attributes:
        answer: the whole answer so far, when it was asked for.
        usage: counts by the server, as far as it has sent them.
        server_tools: requests to tools run by the provider, which it bills apart, by its own names.
        timings: llama.cpp's timings, the latest seen.
        model: the model the server says it used.
        tier: what it says it bills by, where that is not its standard tier; until it does, what it was asked for.
        finish: why generation ended, once it has.
        finished: whether every event arrived up to the reason why generation ended, of each choice.
        done: whether the event that closes the stream arrived.
        started: whether any event of the answer arrived; an error in its place is none.
        generating: whether generated text (or a tool call) has arrived.
        error: the error object, if the server sent one mid-stream.
        text_characters: characters of generated text so far, for an estimate when nobody counts.
        ending: the event that closes the stream, held back until the call is in the books; a translator needs it too.
    """

    def __init__(self, answer: Fold | None, ending: bytes) -> None:
        self.answer = answer
        self.usage: TokenCounts | None = None
        self.server_tools: dict[str, int] = {}
        self.timings: EngineTimings | None = None
        self.model: str | None = None
        self.tier: str | None = None
        self.finish: Finish | None = None
        self.finished = False
        self.done = False
        self.started = False
        self.generating = False
        self.error: Json | None = None
        self.text_characters = 0
        self.ending = ending

    def take(self, event: bytes) -> bytes | None:
        """Note one event; return the bytes to pass on, or ``None`` to hold them back."""
        raise NotImplementedError

    def answers(self) -> list[Answered]:
        """The answers so far, one for each choice that was asked for; empty when they were not kept."""
        if self.answer is None:
            return []
        return [Answered(self.answer.text(), self.answer.tool_calls(), self.finish)]

    def take_all(self, events: list[bytes]) -> bytes:
        """Note events up to the first that ends the stream, well or badly; return the bytes to pass on."""
        passed = []
        for event in events:
            if (kept := self.take(event)) is not None:
                passed.append(kept)
            elif self.done or self.error is not None:
                break
        return b"".join(passed)

    def _generated(self, characters: int) -> None:
        if characters:
            self.generating = True
            self.text_characters += characters

    def _broken(self, expected: str, error: Exception) -> None:
        self.started = True  # what cannot be read may be an answer, and billed
        self.error = {"message": f"the upstream sent an event that is no {expected}: {error}"}
