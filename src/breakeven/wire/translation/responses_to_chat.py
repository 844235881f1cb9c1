"""An OpenAI responses request as a chat completions request; nothing is stored that a later one could refer to."""

from __future__ import annotations

from typing import Any

from breakeven.wire.body import Json
from breakeven.wire.translation.fields import blocks_of, given, refuse_leftovers, text_or_parts, unsupported
from breakeven.wire.translation.messages_to_chat import TOOL_IMAGES
from breakeven.wire.translation.reasoning import chat_details

_TRANSLATED = {
    "model", "input", "instructions", "max_output_tokens", "stream", "temperature", "top_p", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning", "text", "user", "safety_identifier", "service_tier",
}  # fmt: skip
_OPTIMISATIONS = {
    "metadata", "stream_options", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "truncation",
    "max_tool_calls", "include",
}  # fmt: skip
"""``max_tool_calls`` limits tools run by the provider, of which there are none here; ``truncation`` and ``include``
allow and ask for what no answer needs."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "background": (False,),
    "top_logprobs": (0,),
    "context_management": ([],),
}
_TOOL_FIELDS = {"type", "name", "description", "parameters", "strict"}
_TOOL_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "defer_loading": (False,),
    "allowed_callers": (["direct"],),
    "async": (False,),
}
_REASONING_FIELDS = {"effort", "summary", "generate_summary"}
_REASONING_NEUTRAL: dict[str, tuple[Any, ...]] = {"context": ("auto", "current_turn"), "mode": ("standard",)}


def responses_to_chat(document: Json, *, engine: bool) -> Json:
    """Translate a request; ``engine`` is llama.cpp, which takes reasoning back that the public API does not.

    Raises:
        Unsupported: naming the field that has no equivalent.
    """
    refuse_leftovers(document, _TRANSLATED | _OPTIMISATIONS, _NEUTRAL)
    text, reasoning = document.get("text") or {}, document.get("reasoning") or {}
    refuse_leftovers(text, {"format", "verbosity"}, {})
    refuse_leftovers(reasoning, _REASONING_FIELDS, _REASONING_NEUTRAL)
    verbosity = text.get("verbosity")
    return given(
        messages=_messages(document, engine=engine),
        max_completion_tokens=document.get("max_output_tokens"),
        temperature=document.get("temperature"),
        top_p=document.get("top_p"),
        tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(document.get("tools") or [])] or None,
        tool_choice=_tool_choice(document.get("tool_choice")),
        parallel_tool_calls=False if document.get("parallel_tool_calls") is False else None,
        reasoning_effort=reasoning.get("effort"),
        response_format=_response_format(text.get("format")),
        verbosity=verbosity if verbosity != "medium" else None,
        user=document.get("user"),
        safety_identifier=document.get("safety_identifier"),
        service_tier=document.get("service_tier") if document.get("service_tier") != "auto" else None,
    )


def _messages(document: Json, *, engine: bool) -> list[Json]:
    messages: list[Json] = []
    if document.get("instructions"):
        messages.append({"role": "system", "content": document["instructions"]})
    content = document.get("input")
    items = [{"role": "user", "content": content}] if isinstance(content, str) else content or []
    conversation = _Conversation(engine=engine)
    for index, item in enumerate(items):
        conversation.add(item, f"input[{index}]")
    messages += conversation.messages()
    if not messages:
        raise unsupported("input", "a message is needed, as nothing is stored that it could follow")
    return messages


class _Conversation:
    """Puts items together into messages: reasoning, words and calls of one turn of the model make one message."""

    def __init__(self, *, engine: bool) -> None:
        self._engine = engine
        self._messages: list[Json] = []
        self._turn: Json | None = None
        self._images: list[Json] = []

    def messages(self) -> list[Json]:
        self._flush_images()
        return self._messages

    def add(self, item: Json, where: str) -> None:
        kind = item.get("type", "message")
        if kind != "function_call_output":
            self._flush_images()
        match kind:
            case "message" if item.get("role") == "assistant":
                self._say(item, where)
            case "message":
                self._turn = None
                self._messages.append(_message(item, where))
            case "reasoning":
                self._think(item)
            case "function_call":
                turn = self._open_turn()
                function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
                call = {"id": item.get("call_id"), "type": "function", "function": function}
                turn["tool_calls"] = [*turn.get("tool_calls", ()), call]
            case "function_call_output":
                self._turn = None
                self._result(item, where)
            case _:
                raise unsupported(f"{where}.type = {kind!r}", "has no equivalent in chat completions")

    def _open_turn(self) -> Json:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self._messages.append(self._turn)
        return self._turn

    def _say(self, item: Json, where: str) -> None:
        """Words after words are a new message; words after a call are not, as its result must come next."""
        if self._turn is not None and self._turn["content"] is not None and "tool_calls" not in self._turn:
            self._turn = None
        turn = self._open_turn()
        before = turn["content"]
        blocks = blocks_of(item.get("content"), f"{where}.content")
        parts = [_spoken(block, f"{where}.content[{i}]") for i, block in enumerate(blocks)]
        turn["content"] = text_or_parts([*blocks_of(before, where), *parts]) or ""

    def _think(self, item: Json) -> None:
        """Reasoning goes back to engines, and to Anthropic's models if they signed it; others have no place for it."""
        texts = [part.get("text", "") for part in item.get("content") or item.get("summary") or ()]
        details = chat_details(item)
        if details:
            turn = self._open_turn()
            turn["reasoning_details"] = [*turn.get("reasoning_details", ()), *details]
        if texts and self._engine:
            turn = self._open_turn()
            turn["reasoning_content"] = turn.get("reasoning_content", "") + "".join(texts)

    def _result(self, item: Json, where: str) -> None:
        content = item.get("output")
        blocks = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        parts = [_heard(block, f"{where}.output[{i}]") for i, block in enumerate(blocks_of(blocks, f"{where}.output"))]
        texts = [part for part in parts if part["type"] == "text"]
        shown = [part for part in parts if part["type"] != "text"]
        call_id = item.get("call_id")
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": text_or_parts(texts) or ""})
        if shown:
            self._images += [{"type": "text", "text": TOOL_IMAGES.format(call_id)}, *shown]

    def _flush_images(self) -> None:
        if self._images:
            self._messages.append({"role": "user", "content": self._images})
            self._images = []


def _message(item: Json, where: str) -> Json:
    role = item.get("role")
    if role not in ("user", "system", "developer"):
        raise unsupported(f"{where}.role = {role!r}", "expected user, assistant, system or developer")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    blocks = blocks_of(content, f"{where}.content")
    return {"role": role, "content": text_or_parts([_heard(b, f"{where}.content[{i}]") for i, b in enumerate(blocks)])}


def _heard(part: Json, where: str) -> Json:
    """A part of what the model is told."""
    match part.get("type"):
        case "input_text" | "text" | "output_text":
            return {"type": "text", "text": part.get("text", "")}
        case "input_image" if part.get("image_url"):
            image = given(url=part["image_url"], detail=part.get("detail"))
            return {"type": "image_url", "image_url": image}
        case "input_file" if part.get("file_data"):
            file = given(filename=part.get("filename"), file_data=part["file_data"])
            return {"type": "file", "file": file}
        case kind:
            raise unsupported(f"{where}.type = {kind!r}", "chat completions take text, images, and files by content")


def _spoken(part: Json, where: str) -> Json:
    """A part of what the model said."""
    match part.get("type"):
        case "output_text" | "text" | "input_text":
            return {"type": "text", "text": part.get("text", "")}
        case "refusal":
            return {"type": "refusal", "refusal": part.get("refusal", "")}
        case kind:
            raise unsupported(f"{where}.type = {kind!r}", "has no equivalent in chat completions")


def _tool(tool: Json, where: str) -> Json:
    if tool.get("type") != "function":
        raise unsupported(f"{where}.type = {tool.get('type')!r}", "is a tool that only OpenAI's own servers run")
    refuse_leftovers(tool, _TOOL_FIELDS, _TOOL_NEUTRAL)
    function = given(**{key: tool.get(key) for key in ("name", "description", "parameters", "strict")})
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") != "function":
        raise unsupported(f"tool_choice.type = {choice.get('type')!r}", "has no equivalent in chat completions")
    return {"type": "function", "function": {"name": choice.get("name")}}


def _response_format(form: Json | None) -> Json | None:
    kind = (form or {}).get("type", "text")
    if form is None or kind == "text":
        return None
    if kind == "json_schema":
        return {"type": "json_schema", "json_schema": {key: form[key] for key in form if key != "type"}}
    return {"type": kind}
