"""How servers that call themselves compatible write chat completions, read as the one way that OpenAI writes them."""

from __future__ import annotations

from typing import Any

from breakeven.wire.body import Json, as_list, as_object, as_text


class CallNumbers:
    """Numbers the calls of tools in a stream.

    OpenAI numbers them by ``index``. Some servers leave it out, or give all calls the same one: a piece that names its
    function then begins another call, if its id is another.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._numbers: dict[int | None, int] = {}

    def number(self, call: Json) -> int:
        """The number of the call that a piece belongs to, counted from zero in order of appearance."""
        index, identifier = call.get("index"), call.get("id") or ""
        number = self._numbers.get(index)
        if number is None or (self._begins(call) and (index is None or identifier not in ("", self._ids[number]))):
            number = self._numbers[index] = len(self._ids)
            self._ids.append(identifier)
        return number

    def _begins(self, call: Json) -> bool:
        return bool(as_object(call.get("function")).get("name"))


def plain(message: Json) -> Json:
    """A message, or a piece of one, with its content as text and its reasoning in ``reasoning_content``.

    Reasoning is ``reasoning_content`` at llama.cpp and DeepSeek, ``reasoning`` at vLLM, Groq and OpenRouter, and a part
    of the content at Mistral.
    """
    content = message.get("content")
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(content, list):
        parts = [as_object(part) for part in content]
        said = "".join(as_text(part.get("text")) for part in parts)
        thought = "".join(_thought(part.get("thinking")) for part in parts)
        return {**message, "content": said or None, "reasoning_content": thinking or thought or None}
    return {**message, "reasoning_content": thinking} if "reasoning" in message else message


def _thought(thinking: Any) -> str:
    if isinstance(thinking, str):
        return thinking
    return "".join(as_text(as_object(part).get("text")) for part in as_list(thinking))
