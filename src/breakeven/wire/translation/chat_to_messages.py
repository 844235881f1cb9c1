"""A chat completions request as an Anthropic messages request."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from breakeven.wire.body import Json
from breakeven.wire.translation.fields import blocks_of, given, refuse_leftovers, text_or_parts, unsupported
from breakeven.wire.translation.reasoning import block_of_detail

DEFAULT_MAX_TOKENS = 16_384
"""Messages must carry a limit, chat completions need not: every current model of Anthropic can generate this much."""

_TRANSLATED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "stop", "temperature",
    "top_p", "top_k", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user",
    "safety_identifier", "service_tier",
}  # fmt: skip
_OPTIMISATIONS = {"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prediction", "metadata"}
"""``metadata`` labels stored completions, and our own books."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "functions": ([],),
}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_TIERS = {None: None, "auto": "auto", "default": "standard_only"}
_INVALID_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_decode = msgspec.json.Decoder().decode


def chat_to_messages(document: Json) -> Json:
    """Translate a request.

    Raises:
        Unsupported: naming the field that has no equivalent.
    """
    refuse_leftovers(document, _TRANSLATED | _OPTIMISATIONS, _NEUTRAL)
    system, messages = _conversation(document["messages"])
    temperature, tier, stop = document.get("temperature"), document.get("service_tier"), document.get("stop")
    if isinstance(temperature, int | float) and temperature > 1:
        raise unsupported(f"temperature = {temperature}", "Anthropic's models take 0 to 1")
    if tier not in _TIERS:
        raise unsupported(f"service_tier = {tier!r}", "Anthropic offers auto and default")
    user = document.get("safety_identifier") or document.get("user")
    effort, thinking = _reasoning(document)
    form = _output_format(document.get("response_format"))
    return given(
        system=system,
        messages=messages,
        max_tokens=document.get("max_completion_tokens") or document.get("max_tokens") or DEFAULT_MAX_TOKENS,
        stop_sequences=([stop] if isinstance(stop, str) else stop) or None,
        temperature=temperature,
        top_p=document.get("top_p"),
        top_k=document.get("top_k"),
        tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(document.get("tools") or [])] or None,
        tool_choice=_tool_choice(document),
        thinking=thinking,
        output_config=given(effort=effort, format=form) or None,
        metadata={"user_id": user} if user else None,
        service_tier=_TIERS[tier],
    )


def _conversation(messages: list[Json]) -> tuple[str | list[Json] | None, list[Json]]:
    """The system prompt that leads, and the turns: results of tools go into the user's turn that follows them."""
    system: list[Json] = []
    turns: list[Json] = []
    results: list[Json] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role")
        if message.get("name") is not None:
            raise unsupported(f"{where}.name", "messages have no names of participants")
        if role == "tool":
            results.append(_tool_result(message, where))
            continue
        if results and role != "user":
            turns.append({"role": "user", "content": results})
            results = []
        match role:
            case "system" | "developer":
                texts = _texts(message.get("content"), f"{where}.content")
                if turns:
                    turns.append({"role": "system", "content": text_or_parts(texts)})
                else:
                    system += texts
            case "user":
                blocks = [
                    _user_block(part, f"{where}.content[{i}]")
                    for i, part in enumerate(blocks_of(message.get("content"), f"{where}.content"))
                ]
                turns.append({"role": "user", "content": [*results, *blocks] if results else text_or_parts(blocks)})
                results = []
            case "assistant":
                turns.append({"role": "assistant", "content": _assistant_content(message, where)})
            case _:
                raise unsupported(f"{where}.role = {role!r}", "has no equivalent in messages")
    if results:
        turns.append({"role": "user", "content": results})
    if not turns:
        raise unsupported("messages", "a message from the user is needed beside the system prompt")
    return (text_or_parts(system) if system else None), turns


def _texts(content: Any, where: str) -> list[Json]:
    blocks = []
    for index, part in enumerate(blocks_of(content, where)):
        if part.get("type") not in ("text", "refusal"):
            raise unsupported(f"{where}[{index}].type = {part.get('type')!r}", "expected text")
        text = part.get("text") if part.get("type") == "text" else part.get("refusal")
        blocks.append(given(type="text", text=text or "", cache_control=part.get("cache_control")))
    return blocks


def tool_id(identifier: Any) -> str:
    """An id of a tool call as Anthropic takes it; other servers' ids may hold characters that it refuses."""
    return _INVALID_IN_ID.sub("_", str(identifier))


def _tool_result(message: Json, where: str) -> Json:
    parts = blocks_of(message.get("content"), f"{where}.content")
    blocks = [_user_block(part, f"{where}.content[{i}]") for i, part in enumerate(parts)]
    return {
        "type": "tool_result",
        "tool_use_id": tool_id(message.get("tool_call_id")),
        "content": text_or_parts(blocks) if blocks else "",
    }


def _user_block(part: Json, where: str) -> Json:
    cached = part.get("cache_control")
    match part.get("type"):
        case "text":
            return given(type="text", text=part.get("text", ""), cache_control=cached)
        case "image_url":
            return given(type="image", source=_image_source(part, where), cache_control=cached)
        case "file":
            return given(**_document(part.get("file") or {}, where), cache_control=cached)
        case kind:
            raise unsupported(f"{where}.type = {kind!r}", "has no equivalent in messages")


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Media type and base64 data of a data URL."""
    head, found, data = url.partition(",")
    media_type, *parameters = head.removeprefix("data:").split(";")
    if not found or "base64" not in parameters:
        raise unsupported(where, "expected a data URL in base64")
    return media_type, data


def _image_source(part: Json, where: str) -> Json:
    image = part.get("image_url")
    url = str(image.get("url") if isinstance(image, dict) else image)
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, f"{where}.image_url.url")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: Json, where: str) -> Json:
    content = file.get("file_data")
    if not isinstance(content, str):
        raise unsupported(f"{where}.file", "messages take files by their content (file_data)")
    media_type, data = _data_url(content, f"{where}.file.file_data")
    if media_type != "application/pdf":
        raise unsupported(f"{where}.file.file_data", f"messages take PDF, not {media_type}")
    source = {"type": "base64", "media_type": media_type, "data": data}
    return given(type="document", source=source, title=file.get("filename"))


def _assistant_content(message: Json, where: str) -> str | list[Json]:
    """Reasoning goes back if it carries the signature of Anthropic's models; else they would refuse it."""
    for field in ("function_call", "audio"):
        if message.get(field) is not None:
            raise unsupported(f"{where}.{field}", "has no equivalent in messages")
    blocks = [block for detail in message.get("reasoning_details") or () if (block := block_of_detail(detail))]
    blocks += [block for block in _texts(message.get("content"), f"{where}.content") if block["text"]]
    if message.get("refusal"):
        blocks.append({"type": "text", "text": message["refusal"]})
    for index, call in enumerate(message.get("tool_calls") or []):
        blocks.append(_tool_use(call, f"{where}.tool_calls[{index}]"))
    return text_or_parts(blocks) if blocks else ""


def _tool_use(call: Json, where: str) -> Json:
    function = call.get("function")
    if not isinstance(function, dict):
        raise unsupported(f"{where}.type = {call.get('type')!r}", "has no equivalent in messages")
    arguments = function.get("arguments") or "{}"
    try:
        given_input = _decode(arguments)
    except msgspec.DecodeError:
        given_input = None
    if not isinstance(given_input, dict):
        raise unsupported(f"{where}.function.arguments", "messages take a JSON object")
    return {"type": "tool_use", "id": tool_id(call.get("id")), "name": function.get("name"), "input": given_input}


def _tool(tool: Json, where: str) -> Json:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise unsupported(f"{where}.type = {tool.get('type')!r}", "has no equivalent in messages")
    return given(
        name=function.get("name"),
        description=function.get("description"),
        input_schema=function.get("parameters") or {"type": "object", "properties": {}},
        strict=function.get("strict"),
        cache_control=tool.get("cache_control"),
    )


def _tool_choice(document: Json) -> Json | None:
    choice, serial = document.get("tool_choice"), document.get("parallel_tool_calls") is False
    if not document.get("tools"):
        return None
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if serial else None
    if isinstance(choice, dict):
        function = choice.get("function")
        if choice.get("type") != "function" or not isinstance(function, dict):
            raise unsupported(f"tool_choice.type = {choice.get('type')!r}", "has no equivalent in messages")
        chosen: Json = {"type": "tool", "name": function.get("name")}
    elif choice in _CHOICES:
        chosen = {"type": _CHOICES[choice]}
    else:
        raise unsupported(f"tool_choice = {choice!r}", "expected auto, required, none or a function")
    if serial and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    return chosen


def _output_format(form: Json | None) -> Json | None:
    kind = (form or {}).get("type", "text")
    if form is None or kind == "text":
        return None
    if kind != "json_schema":
        raise unsupported(
            f"response_format.type = {kind!r}", "messages take a json_schema, and have no mode for JSON at large"
        )
    details = form.get("json_schema") or {}
    schema = details.get("schema")
    if not isinstance(schema, dict):
        raise unsupported("response_format.json_schema.schema", "expected a JSON schema")
    if details.get("description") and "description" not in schema:
        schema = {"description": details["description"], **schema}
    return {"type": "json_schema", "schema": schema}


def _reasoning(document: Json) -> tuple[str | None, Json | None]:
    """Effort and thinking; a forced tool rules out thinking, and the effort then stands alone."""
    effort = document.get("reasoning_effort")
    if effort is None:
        return None, None
    if effort == "none":
        return None, {"type": "disabled"}
    forced = document.get("tool_choice") not in (None, "auto", "none")
    return ("low" if effort == "minimal" else effort), (None if forced else {"type": "adaptive"})
