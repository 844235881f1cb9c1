"""A chat completions request as an OpenAI responses request, of which nothing is to be stored."""

from __future__ import annotations

from typing import Any

from breakeven.wire.body import Json
from breakeven.wire.translation.fields import blocks_of, given, refuse_leftovers, unsupported

_TRANSLATED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "verbosity", "user",
    "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
}  # fmt: skip
_SAME = (
    "temperature", "top_p", "user", "safety_identifier", "service_tier", "parallel_tool_calls", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention",
)  # fmt: skip
_OPTIMISATIONS = {"prediction", "metadata"}
"""``metadata`` labels stored completions, and our own books."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "modalities": (["text"],),
    "functions": ([],),
}


def chat_to_responses(document: Json) -> Json:
    """Translate a request.

    Raises:
        Unsupported: naming the field that has no equivalent.
    """
    refuse_leftovers(document, _TRANSLATED | _OPTIMISATIONS, _NEUTRAL)
    items: list[Json] = []
    for index, message in enumerate(document["messages"]):
        items += _items(message, f"messages[{index}]")
    effort = document.get("reasoning_effort")
    form = _format(document.get("response_format"))
    return given(
        input=items,
        max_output_tokens=document.get("max_completion_tokens") or document.get("max_tokens"),
        tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(document.get("tools") or [])] or None,
        tool_choice=_tool_choice(document.get("tool_choice")),
        reasoning={"effort": effort} if effort is not None else None,
        text=given(format=form, verbosity=document.get("verbosity")) or None,
        store=False,
        **{key: document.get(key) for key in _SAME},
    )


def _items(message: Json, where: str) -> list[Json]:
    role, content = message.get("role"), message.get("content")
    if message.get("name") is not None:
        raise unsupported(f"{where}.name", "responses have no names of participants")
    match role:
        case "system" | "developer" | "user":
            if isinstance(content, str):
                return [{"role": role, "content": content}]
            blocks = blocks_of(content, f"{where}.content")
            return [{"role": role, "content": [_part(b, f"{where}.content[{i}]") for i, b in enumerate(blocks)]}]
        case "tool":
            parts = [_part(b, f"{where}.content[{i}]") for i, b in enumerate(blocks_of(content, f"{where}.content"))]
            plain = "".join(part["text"] for part in parts) if all("text" in part for part in parts) else None
            output = parts if plain is None else plain
            return [{"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output}]
        case "assistant":
            return _spoken(message, where)
        case _:
            raise unsupported(f"{where}.role = {role!r}", "has no equivalent in responses")


def _spoken(message: Json, where: str) -> list[Json]:
    """What the model said and called. Its reasoning is left out: only what OpenAI encrypted could go back."""
    for field in ("function_call", "audio"):
        if message.get(field) is not None:
            raise unsupported(f"{where}.{field}", "has no equivalent in responses")
    text = _text(message.get("content"), f"{where}.content") + (message.get("refusal") or "")
    calls = message.get("tool_calls") or []
    items: list[Json] = [{"role": "assistant", "content": text}] if text or not calls else []
    for index, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(function, dict):
            raise unsupported(
                f"{where}.tool_calls[{index}].type = {call.get('type')!r}", "has no equivalent in responses"
            )
        named = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
        items.append({"type": "function_call", "call_id": call.get("id"), **named})
    return items


def _text(content: Any, where: str) -> str:
    texts = []
    for index, part in enumerate(blocks_of(content, where)):
        if part.get("type") not in ("text", "refusal"):
            raise unsupported(f"{where}[{index}].type = {part.get('type')!r}", "expected text")
        texts.append(part.get("text") or part.get("refusal") or "")
    return "".join(texts)


def _part(part: Json, where: str) -> Json:
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": part.get("text", "")}
        case "image_url":
            image = part.get("image_url")
            details = image if isinstance(image, dict) else {"url": image}
            return {
                "type": "input_image",
                "image_url": details.get("url"),
                "detail": details.get("detail") or "auto",
            }
        case "file":
            file = part.get("file") or {}
            return given(type="input_file", **{key: file.get(key) for key in ("filename", "file_data", "file_id")})
        case kind:
            raise unsupported(f"{where}.type = {kind!r}", "has no equivalent in responses")


def _tool(tool: Json, where: str) -> Json:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise unsupported(f"{where}.type = {tool.get('type')!r}", "has no equivalent in responses")
    return {
        "type": "function",
        "name": function.get("name"),
        "description": function.get("description"),
        "parameters": function.get("parameters"),
        "strict": bool(function.get("strict")),
    }


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, dict):
        raise unsupported(f"tool_choice.type = {choice.get('type')!r}", "has no equivalent in responses")
    return {"type": "function", "name": function.get("name")}


def _format(form: Json | None) -> Json | None:
    kind = (form or {}).get("type", "text")
    if form is None or kind == "text":
        return None
    return {"type": kind, **(form.get("json_schema") or {})}
