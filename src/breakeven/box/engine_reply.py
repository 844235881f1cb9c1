"""An engine's answer under way, watched for what the pool wants to know of it."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import msgspec

from breakeven.box.pool import Measured
from breakeven.errors import StreamCut
from breakeven.providers.base import Reply
from breakeven.wire.openai_chat import read_usage
from breakeven.wire.reader import EngineTimings
from breakeven.wire.sse import DONE, EventSplitter

KEPT_BYTES = 8192
"""Of an answer's end, where its counts are."""
_PROGRESS = b'"prompt_progress":{'
"""Cannot be part of generated text, in which quotes are escaped."""
_OPENING = re.compile(rb'"delta":\{"role":"assistant"(?:,"content":(?:null|""))?\}')
"""Of an event that only says who speaks, which servers send before or together with the first word."""
_END = b"data: " + DONE
_TIMINGS = re.compile(rb'"timings":(\{[^{}]*\})')
_USAGE = re.compile(rb'"usage":(\{(?:[^{}]|\{[^{}]*\})*\})')


class EngineReply:
    """Passes an answer on. News of the prefill is taken out: nobody but the pool asked for it.

    Attributes:
        status: as the engine sent it.
        complete: whether its end has been seen.
    """

    def __init__(self, reply: Reply, clock: Callable[[], float] = time.monotonic) -> None:
        self.status = reply.status
        self.complete = False
        self._reply = reply
        self._chunks = reply.chunks()
        self._streams = "event-stream" in (reply.header("content-type") or "")
        self._begun = b""
        self._tail = b""
        self._clock = clock
        self._sent = self._first = self._last = clock()

    def header(self, name: str) -> str | None:
        """A response header, by name in any case."""
        return self._reply.header(name)

    async def begin(self) -> None:
        """Wait for the first word, or for all of an answer that is no stream: until then a call can be sent again.

        Raises:
            StreamCut: the engine broke off before it said anything.
        """
        if self.status == HTTPStatus.OK and self._streams:
            await self._first_word()
        else:
            self._begun = b"".join([chunk async for chunk in self._chunks])
        self._first = self._last = self._clock()

    async def _first_word(self) -> None:
        splitter, held = EventSplitter(), b""
        async for chunk in self._chunks:
            events = [event for event in splitter.feed(chunk) if _PROGRESS not in event]
            held += b"".join(events)
            if not all(_OPENING.search(event) for event in events):
                self._begun = held + splitter.rest
                return
        raise StreamCut("the engine ended its answer before it said anything", remedy="The call can be sent again.")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        if self._begun:
            self._note(self._begun)
            yield self._begun
        async for chunk in self._chunks:
            self._note(chunk)
            yield chunk
        self.complete = True

    def measured(self) -> Measured:
        """What the engine reported at the end of its answer, by the clock where it reported no times."""
        if (found := _last(_TIMINGS, self._tail)) is not None and (timings := EngineTimings.read(found)) is not None:
            tokens = timings.tokens
            return Measured(tokens.uncached_input, tokens.cache_read, tokens.output, timings.prefill, timings.decode)
        reported = _last(_USAGE, self._tail)
        if (usage := read_usage(reported)) is None:
            return Measured()
        times = self._first - self._sent, self._last - self._first
        if isinstance(reported, dict) and reported.get("prompt_tokens_details") is None:
            return Measured(None, None, usage.output, *times)
        return Measured(usage.uncached_input, usage.cache_read, usage.output, *times)

    def _note(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-KEPT_BYTES:]
        self._last = self._clock()
        if self._tail.rstrip().endswith(_END):
            self.complete = True


def _last(pattern: re.Pattern[bytes], text: bytes) -> object:
    found = list(pattern.finditer(text))
    if not found:
        return None
    try:
        decoded: object = msgspec.json.decode(found[-1][1])
    except msgspec.DecodeError:
        return None
    return decoded
