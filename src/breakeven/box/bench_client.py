"""One timed call to a model server, in the dialect in which that server says the most about its own time."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from breakeven.errors import UpstreamError
from breakeven.units import Seconds, Tokens

Json: TypeAlias = dict[str, Any]
Prompt: TypeAlias = list[int] | str
"""Token ids where the server takes them, else text."""

LONGEST_CALL = timedelta(hours=1)
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


@dataclass(slots=True)
class Reading:
    """What one call took.

    Attributes:
        sent: when the request left, by the caller's clock.
        marks: when how many tokens of the answer were here.
        prefill / decode / load: as the server states them; ``None`` when it does not.
    """

    sent: Seconds
    marks: list[tuple[Seconds, int]] = field(default_factory=list)
    input_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    prefill: Seconds | None = None
    decode: Seconds | None = None
    load: Seconds | None = None

    @property
    def first(self) -> Seconds:
        """When the first token was here."""
        return self.marks[0][0]

    @property
    def last(self) -> Seconds:
        """When the last token was here."""
        return self.marks[-1][0]

    @property
    def first_token_seconds(self) -> Seconds:
        """From the request to the first token, transport included."""
        return self.first - self.sent

    def without(self, waited_share: float) -> Reading:
        """The same, had the server not waited for a CPU that share of the time."""
        kept = 1 - waited_share

        def less(seconds: Seconds | None) -> Seconds | None:
            return None if seconds is None else seconds * kept

        marks = [(self.sent + (at - self.sent) * kept, count) for at, count in self.marks]
        return replace(self, marks=marks, prefill=less(self.prefill), decode=less(self.decode), load=less(self.load))

    def step_seconds(self, since: Seconds | None = None, until: Seconds | None = None) -> Seconds | None:
        """Mean time between tokens that arrived in that stretch; ``None`` of fewer than five."""
        marks = [
            mark for mark in self.marks if (since is None or mark[0] >= since) and (until is None or mark[0] <= until)
        ]
        if len(marks) < 5:
            return None
        return (marks[-1][0] - marks[0][0]) / (marks[-1][1] - marks[0][1])


class Dialect(ABC):
    """How a kind of server is asked and read."""

    path: str

    def __init__(self, model: str) -> None:
        self.model = model

    @abstractmethod
    def prompt(self, tokens: Tokens, rng: random.Random) -> Prompt:
        """A prompt of about so many random tokens, like no other."""

    @abstractmethod
    def body(self, prompt: Prompt, output_tokens: Tokens, *, cached: bool) -> Json:
        """The request; ``cached`` lets the server reuse what it holds of the prompt."""

    @abstractmethod
    def note(self, event: Json, at: Seconds, reading: Reading) -> None:
        """Take in one event of the answer."""

    def finish(self, reading: Reading) -> None:  # noqa: B027  most servers count as they go
        """Take in the end of the answer."""


class LlamaServerDialect(Dialect):
    """llama.cpp's own ``/completion``: prompts as token ids, its times with every token."""

    path = "/completion"

    def __init__(self, model: str, vocabulary: int) -> None:
        super().__init__(model)
        self._vocabulary = vocabulary

    def prompt(self, tokens: Tokens, rng: random.Random) -> Prompt:
        """Ids from the middle of the vocabulary, away from control tokens at its ends."""
        low, high = self._vocabulary // 10, self._vocabulary * 9 // 10
        return [rng.randrange(low, high) for _ in range(tokens)]

    def body(self, prompt: Prompt, output_tokens: Tokens, *, cached: bool) -> Json:
        """Generates to the limit whatever the model would rather do."""
        return {
            "prompt": prompt,
            "n_predict": output_tokens,
            "ignore_eos": True,
            "cache_prompt": cached,
            "stream": True,
            "timings_per_token": True,
        }

    def note(self, event: Json, at: Seconds, reading: Reading) -> None:
        """Each event carries the times so far."""
        timings = event.get("timings")
        if not isinstance(timings, dict):
            return
        count = int(timings["predicted_n"])
        if count and (not reading.marks or count > reading.marks[-1][1]):
            reading.marks.append((at, count))
        reading.input_tokens = int(timings["prompt_n"])
        reading.cached_tokens = int(timings.get("cache_n", 0))
        reading.output_tokens = count
        reading.prefill = float(timings["prompt_ms"]) / 1e3
        reading.decode = float(timings["predicted_ms"]) / 1e3


class WordsDialect(Dialect):
    """Servers that take text: its tokens are known once they have counted some."""

    tokens_per_word = 2.5

    def prompt(self, tokens: Tokens, rng: random.Random) -> Prompt:
        """Made-up words."""
        words = max(1, round(tokens / self.tokens_per_word))
        return " ".join("".join(rng.choices(SYLLABLES, k=3)) for _ in range(words))

    def learn(self, prompt: Prompt, reading: Reading) -> None:
        """How many tokens a word is for this model."""
        if isinstance(prompt, str) and reading.input_tokens:
            self.tokens_per_word = (reading.input_tokens + (reading.cached_tokens or 0)) / len(prompt.split())


class OllamaDialect(WordsDialect):
    """Ollama's ``/api/generate``: durations at the end, in nanoseconds; they cover what was not in its cache."""

    path = "/api/generate"

    def body(self, prompt: Prompt, output_tokens: Tokens, *, cached: bool) -> Json:  # noqa: ARG002  it has no switch
        """Raw, so that no template is put around the prompt."""
        options = {"num_predict": output_tokens}
        return {"model": self.model, "prompt": prompt, "raw": True, "stream": True, "options": options}

    def note(self, event: Json, at: Seconds, reading: Reading) -> None:
        """One line a token, and a last one with the durations."""
        if event.get("response"):
            reading.marks.append((at, len(reading.marks) + 1))
        if event.get("done"):
            reading.input_tokens = event.get("prompt_eval_count")
            reading.output_tokens = event.get("eval_count")
            reading.prefill = _nanoseconds(event.get("prompt_eval_duration"))
            reading.decode = _nanoseconds(event.get("eval_duration"))
            reading.load = _nanoseconds(event.get("load_duration"))


class OpenAIDialect(WordsDialect):
    """Any OpenAI-compatible ``/v1/completions``: counts at the end, times by the caller's clock."""

    path = "/v1/completions"

    def body(self, prompt: Prompt, output_tokens: Tokens, *, cached: bool) -> Json:  # noqa: ARG002  it has no switch
        """Streamed, with usage."""
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def note(self, event: Json, at: Seconds, reading: Reading) -> None:
        """One event a piece of text; a piece counts as one token until the usage says how many they were."""
        for choice in event.get("choices") or ():
            if choice.get("text"):
                reading.marks.append((at, len(reading.marks) + 1))
        if isinstance(usage := event.get("usage"), dict):
            details = usage.get("prompt_tokens_details") or {}
            reading.cached_tokens = details.get("cached_tokens")
            reading.input_tokens = int(usage["prompt_tokens"]) - (reading.cached_tokens or 0)
            reading.output_tokens = int(usage["completion_tokens"])

    def finish(self, reading: Reading) -> None:
        """Spread the counted tokens over the pieces in which they came."""
        if reading.output_tokens and len(reading.marks) > 1:
            scale = (reading.output_tokens - 1) / (len(reading.marks) - 1)
            reading.marks = [(at, round(1 + (count - 1) * scale)) for at, count in reading.marks]
        elif reading.output_tokens is None:
            reading.output_tokens = len(reading.marks) or None


def _nanoseconds(value: Any) -> Seconds | None:
    return value / 1e9 if isinstance(value, int) else None


class BenchClient:
    """Sends timed calls to one server.

    Args:
        root: its address, without ``/v1``.
        key: bearer key, if it wants one.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        root: str,
        dialect: Dialect,
        *,
        key: str | None = None,
        clock: Callable[[], Seconds] = time.perf_counter,
    ) -> None:
        self.dialect = dialect
        self._root, self._key, self._clock = root, key, clock
        builder = ClientBuilder().no_proxy().http1_only().timeout(LONGEST_CALL)
        self._client: Client = builder.pool_max_idle_per_host(0).build()  # a resting connection may be closed by now

    async def close(self) -> None:
        """Release what the client holds."""
        await self._client.close()

    async def call(self, prompt: Prompt, output_tokens: Tokens, *, cached: bool = False) -> Reading:
        """One call, to its end.

        Raises:
            UpstreamError: the server refuses, breaks off, or answers without any token.
        """
        body = msgspec.json.encode(self.dialect.body(prompt, output_tokens, cached=cached))
        reading = Reading(self._clock())
        try:
            async for line in self._lines(body):
                event = line.removeprefix(b"data:").strip()
                if not event.startswith(b"{"):
                    continue
                decoded = msgspec.json.decode(event)
                if "error" in decoded:
                    raise UpstreamError(f"{self._root} answered with an error: {decoded['error']}")
                self.dialect.note(decoded, self._clock(), reading)
        except RequestError as error:
            raise UpstreamError(f"{self._root} broke off: {error}", remedy="Check that it runs.") from error
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise UpstreamError(f"{self._root}{self.dialect.path} answered in an unknown form: {error!r}") from error
        self.dialect.finish(reading)
        if not reading.marks or reading.input_tokens is None:
            raise UpstreamError(
                f"{self._root}{self.dialect.path} answered without {'counts' if reading.marks else 'any token'}",
                remedy="Check the model's name with: breakeven models list",
            )
        return reading

    async def _lines(self, body: bytes) -> AsyncIterator[bytes]:
        request = self._client.post(self._root + self.dialect.path).header("content-type", "application/json")
        if self._key is not None:
            request = request.bearer_auth(self._key)
        async with request.body_bytes(body).streamed_read_buffer_limit(0).build_streamed() as response:
            if response.status != HTTPStatus.OK:
                said = bytes(await response.bytes())[:300].decode("utf-8", "replace")
                raise UpstreamError(f"{self._root}{self.dialect.path} answered {response.status}: {said}")
            rest = b""
            while (chunk := await response.body_reader.read_chunk()) is not None:
                *lines, rest = (rest + bytes(chunk)).split(b"\n")
                for line in lines:
                    yield line
            yield rest
