"""Calls of models in the OpenAI dialect, through the gateway or any other base URL.

Every call carries the agent's labels and an idempotency key of its step, so that a step repeated after a kill gets the
answer that the gateway has, and nobody pays twice. Other servers ignore the labels, and a repeated call is paid again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Protocol

from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import JSONDecodeError, PyreqwestError, RequestError

from breakeven.errors import ItemDeferred, ItemRejected

PATIENCE_SECONDS = 600.0
LONGEST_WAIT_SECONDS = 30.0
"""A provider that asks for more than this defers the item instead of keeping its place busy."""
AWAY_SECONDS = 30.0
"""How long an item waits when nobody answers at all."""
MISCONFIGURED_SECONDS = 300.0
EXHAUSTED_SECONDS = 3600.0
_PASSING = (429, 500, 502, 503, 504)
_OURS = (401, 404)

Message = dict[str, str]
Check = Callable[[Any], Any]
"""Takes parsed JSON, returns it as it is to be kept; raises ValueError saying what is wrong."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of a model.

    Attributes:
        schema: JSON Schema of the answer, with the name that it is sent under.
        key: names the call; repeated calls have the same.
        labels: ``x-breakeven-…`` without that beginning.
        traceparent: W3C trace context of its span, for the server's to go on from.
    """

    model: str
    messages: Sequence[Message]
    key: str
    labels: Mapping[str, str] = field(default_factory=dict)
    schema: tuple[str, Mapping[str, Any]] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    patience_seconds: float = PATIENCE_SECONDS
    traceparent: str | None = None

    def document(self) -> dict[str, Any]:
        """The body of the request."""
        body: dict[str, Any] = {"model": self.model, "messages": list(self.messages)}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.schema is not None:
            name, schema = self.schema
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema)}}
        return body


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Attributes:
        served_by: provider and model by the gateway's word, else the model by its server's.
        input_tokens / output_tokens / cached_tokens: as the server counted them; the input includes the cached.
        replayed: whether it was given, and paid, before.
    """

    text: str
    served_by: str | None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    replayed: bool = False

    @classmethod
    def read(cls, document: Any, headers: Mapping[str, str]) -> Answer:
        """The answer in a response.

        Raises:
            ItemRejected: it is none.
        """
        try:
            text = document["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ItemRejected(f"the server's answer has no choices[0].message.content: {error!r}") from error
        if not isinstance(text, str):
            raise ItemRejected("the model answered without text")
        usage = _table(document.get("usage"))
        model = document.get("model")
        return cls(
            text,
            headers.get("x-breakeven-served-by") or model,
            model if isinstance(model, str) else None,
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
            _count(_table(usage.get("prompt_tokens_details")).get("cached_tokens")),
            replayed="x-breakeven-replayed" in headers,
        )


class Asks(Protocol):
    """Whoever answers calls: the client below, or a stand-in for a rehearsal."""

    def ask(self, call: Call, *, retries: int) -> Answer:
        """The answer.

        Raises:
            ItemRejected: the request itself is refused.
            ItemDeferred: nobody answers for now.
        """
        ...


class Client:
    """Asks over HTTP; to be shared by all threads of a worker."""

    def __init__(self, base_url: str, key: str | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._key = key
        self._sleep = sleep
        self._http: SyncClient = SyncClientBuilder().connect_timeout(timedelta(seconds=10)).no_proxy().build()

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def ask(self, call: Call, *, retries: int) -> Answer:
        """As ``Asks.ask``; failures that may pass are tried again ``retries`` times under the same key."""
        for attempt in range(retries + 1):
            try:
                return self._once(call)
            except ItemDeferred as error:
                wait = min(error.retry_after_seconds, 0.5 * 2**attempt)
                if attempt == retries or error.retry_after_seconds > LONGEST_WAIT_SECONDS:
                    raise
                self._sleep(wait)
        raise AssertionError("unreachable")

    def _once(self, call: Call) -> Answer:
        request = self._http.post(self._url).timeout(timedelta(seconds=call.patience_seconds + 5))
        headers = {"idempotency-key": call.key, **{f"x-breakeven-{name}": value for name, value in call.labels.items()}}
        if call.traceparent is not None:
            headers["traceparent"] = call.traceparent
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            response = request.headers(headers).body_json(call.document()).build().send()
            status, answered = response.status, dict(response.headers)
            document = response.json()
        except JSONDecodeError as error:
            raise ItemDeferred(f"{self._url} answered no JSON", retry_after_seconds=AWAY_SECONDS) from error
        except (RequestError, PyreqwestError) as error:
            raise ItemDeferred(f"{self._url} does not answer: {error}", retry_after_seconds=AWAY_SECONDS) from error
        if status == HTTPStatus.OK:
            return Answer.read(document, answered)
        refusal = _refusal(status, document, answered)
        refusal.http_status = status
        raise refusal


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _refusal(status: int, document: Any, headers: Mapping[str, str]) -> ItemRejected | ItemDeferred:
    fault = document.get("error") if isinstance(document, dict) else None
    said = fault.get("message") if isinstance(fault, dict) else None
    message = f"HTTP {status}: {said or document}"[:500]
    wait = _retry_after(headers)
    if status in _PASSING:
        return ItemDeferred(message, retry_after_seconds=wait if wait is not None else 1.0)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return ItemDeferred(message, retry_after_seconds=wait if wait is not None else EXHAUSTED_SECONDS)
    if status in _OURS:
        return ItemDeferred(message, retry_after_seconds=MISCONFIGURED_SECONDS)
    return ItemRejected(message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def ask_for_valid(client: Asks, call: Call, check: Check, *, promote: str | None, retries: int) -> tuple[Answer, Any]:
    """Ask until the answer passes a check: once, again with what was wrong, then the model to promote to.

    Each try has a key of its own, or it would get the same answer.

    Raises:
        ItemRejected: no answer passes.
        ItemDeferred: nobody answers for now.
    """
    answer = client.ask(call, retries=retries)
    fault = ""
    for model, suffix in ((call.model, ":again"), *([(promote, ":promoted")] if promote else [])):
        try:
            return answer, check(parse_json(answer.text))
        except ValueError as error:
            fault = str(error)
        correction = f"This is not valid: {fault}\nAnswer again, with valid JSON alone."
        messages = [
            *call.messages,
            {"role": "assistant", "content": answer.text},
            {"role": "user", "content": correction},
        ]
        answer = client.ask(replace(call, model=model, messages=messages, key=call.key + suffix), retries=retries)
    try:
        return answer, check(parse_json(answer.text))
    except ValueError as error:
        raise ItemRejected(f"no valid answer: {error}", remedy="Look at the prompt and its schema.") from error


def parse_json(text: str) -> Any:
    """The JSON in an answer, also between the fences that models like to put around it.

    Raises:
        ValueError: there is none.
    """
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.split("\n", 1)[-1].rsplit("```", 1)[0]
    return json.loads(bare)
