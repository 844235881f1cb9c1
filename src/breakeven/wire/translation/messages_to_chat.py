"""An Anthropic messages request as a chat completions request."""

from __future__ import annotations

from typing import Any

from breakeven.wire.anthropic_messages import is_function, output_format, without_attribution
from breakeven.wire.body import Json, encode
from breakeven.wire.translation.fields import blocks_of, given, refuse_leftovers, text_or_parts, unsupported

TOOL_ERROR = "[tool error] "
"""Chat completions cannot mark a tool's result as an error: its text says so."""
TOOL_IMAGES = "Images in the result of tool call {}:"
"""Chat completions take no images in a tool's result: they follow in a message of their own."""
MAX_USER_CHARACTERS = 64
"""OpenAI refuses longer identifiers of end users."""

_TRANSLATED = {
    "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "tools",
    "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier", "context_management",
}  # fmt: skip
_OPTIMISATIONS = {"cache_control", "diagnostics"}
_NEUTRAL: dict[str, tuple[Any, ...]] = {"speed": ("standard",), "mcp_servers": ([],), "betas": ([],)}
_TOOL_FIELDS = {"type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"}
_TOOL_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "defer_loading": (False,),
    "allowed_callers": (["direct"],),
    "input_examples": ([],),
}
_THINKING_BUDGETS = ((4096, "low"), (16384, "medium"))
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def messages_to_chat(document: Json, *, engine: bool) -> Json:
    """Translate a request; ``engine`` is llama.cpp, which takes more than the public API does.

    Raises:
        Unsupported: naming the field that has no equivalent.
    """
    refuse_leftovers(document, _TRANSLATED | _OPTIMISATIONS, _NEUTRAL)
    _check_context_management(document.get("context_management"))
    messages = _system(document.get("system"))
    for index, message in enumerate(document["messages"]):
        messages += _message(message, f"messages[{index}]", engine=engine)
    if messages[-1]["role"] == "assistant" and not engine:
        raise unsupported(
            "messages[-1].role = 'assistant'", "chat completions cannot continue an answer that is already begun"
        )
    if (top_k := document.get("top_k")) is not None and not engine:
        raise unsupported(f"top_k = {top_k}", "has no equivalent in chat completions")
    chat: Json = given(
        messages=messages,
        max_completion_tokens=document.get("max_tokens"),
        stop=document.get("stop_sequences") or None,
        temperature=document.get("temperature"),
        top_p=document.get("top_p"),
        top_k=top_k,
        tools=[_tool(tool, f"tools[{i}]") for i, tool in enumerate(document.get("tools") or [])] or None,
        response_format=_response_format(document),
        user=_user(document.get("metadata")),
        service_tier="default" if document.get("service_tier") == "standard_only" else None,
    )
    chat.update(_tool_choice(document.get("tool_choice")))
    chat.update(_reasoning(document, engine=engine))
    return chat


def _check_context_management(management: Any) -> None:
    """Edits that clear old content save tokens and may be left out; summaries by the server may not."""
    for edit in (management or {}).get("edits") or ():
        if not str(edit.get("type")).startswith("clear_"):
            raise unsupported(
                f"context_management.edits.type = {edit.get('type')!r}", "has no equivalent in chat completions"
            )


def _system(system: Any) -> list[Json]:
    parts = [_text_part(block, f"system[{i}]") for i, block in enumerate(blocks_of(system, "system"))]
    kept = [{**part, "text": text} for part in parts if (text := without_attribution(part["text"])) or not part["text"]]
    return [{"role": "system", "content": text_or_parts(kept)}] if kept else []


def _text_part(block: Json, where: str) -> Json:
    if block.get("type") != "text":
        raise unsupported(f"{where}.type = {block.get('type')!r}", "has no equivalent in chat completions")
    return {"type": "text", "text": block.get("text", "")}


def _message(message: Json, where: str, *, engine: bool) -> list[Json]:
    blocks = blocks_of(message.get("content"), f"{where}.content")
    match message.get("role"):
        case "user":
            return _user_messages(blocks, f"{where}.content")
        case "assistant":
            return [_assistant_message(blocks, f"{where}.content", engine=engine)]
        case "system":
            parts = [_text_part(block, f"{where}.content[{i}]") for i, block in enumerate(blocks)]
            return [{"role": "system", "content": text_or_parts(parts)}]
        case role:
            raise unsupported(f"{where}.role = {role!r}", "expected user, assistant or system")


def _user_messages(blocks: list[Json], where: str) -> list[Json]:
    """Results of tools as messages of their own, which must come first; then what the user says."""
    results: list[Json] = []
    images: list[Json] = []
    parts: list[Json] = []
    for index, block in enumerate(blocks):
        at = f"{where}[{index}]"
        if block.get("type") == "tool_result":
            content = _result_parts(block, at)
            shown = [part for part in content if part["type"] != "text"]
            if shown:
                images += [{"type": "text", "text": TOOL_IMAGES.format(block.get("tool_use_id"))}, *shown]
            texts = [part for part in content if part["type"] == "text"]
            results.append(
                {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text_or_parts(texts) or ""}
            )
        else:
            parts.append(_user_part(block, at))
    said = images + parts
    return [*results, {"role": "user", "content": text_or_parts(said)}] if said or not results else results


def _result_parts(block: Json, where: str) -> list[Json]:
    content = blocks_of(block.get("content"), f"{where}.content")
    parts = [_user_part(inner, f"{where}.content[{i}]") for i, inner in enumerate(content)]
    if block.get("is_error"):
        first = next((part for part in parts if part["type"] == "text"), None)
        if first is None:
            parts.insert(0, {"type": "text", "text": TOOL_ERROR.strip()})
        else:
            first["text"] = TOOL_ERROR + first["text"]
    return parts


def _user_part(block: Json, where: str) -> Json:
    match block.get("type"):
        case "text":
            return {"type": "text", "text": block.get("text", "")}
        case "image":
            return {"type": "image_url", "image_url": {"url": _image_url(block.get("source") or {}, where)}}
        case "document":
            return _document_part(block, where)
        case kind:
            raise unsupported(f"{where}.type = {kind!r}", "has no equivalent in chat completions")


def _image_url(source: Json, where: str) -> str:
    match source.get("type"):
        case "base64":
            return f"data:{source.get('media_type')};base64,{source.get('data')}"
        case "url":
            return str(source.get("url"))
        case kind:
            raise unsupported(f"{where}.source.type = {kind!r}", "chat completions take images as base64 or as a URL")


def _document_part(block: Json, where: str) -> Json:
    if (block.get("citations") or {}).get("enabled"):
        raise unsupported(f"{where}.citations", "have no equivalent in chat completions")
    source = block.get("source") or {}
    heading = [text for text in (block.get("title"), block.get("context")) if text]
    match source.get("type"):
        case "base64":
            data = f"data:{source.get('media_type', 'application/pdf')};base64,{source.get('data')}"
            if block.get("context"):
                raise unsupported(f"{where}.context", "has no equivalent for files in chat completions")
            return {"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": data}}
        case "text":
            return {"type": "text", "text": "\n\n".join([*heading, str(source.get("data"))])}
        case kind:
            raise unsupported(f"{where}.source.type = {kind!r}", "chat completions take documents as base64 or as text")


def _assistant_message(blocks: list[Json], where: str, *, engine: bool) -> Json:
    """Thinking goes to engines, whose templates place it; elsewhere it is left out, having no place in a request."""
    texts: list[Json] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for index, block in enumerate(blocks):
        match block.get("type"):
            case "text":
                texts.append({"type": "text", "text": block.get("text", "")})
            case "thinking":
                thoughts.append(str(block.get("thinking", "")))
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(tool_call(block))
            case kind:
                raise unsupported(f"{where}[{index}].type = {kind!r}", "has no equivalent in chat completions")
    message: Json = {"role": "assistant", "content": text_or_parts(texts) or None}
    if thoughts and engine:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def tool_call(block: Json) -> Json:
    """A ``tool_use`` block as a call in a chat message."""
    function = {"name": block.get("name"), "arguments": encode(block.get("input") or {}).decode()}
    return {"id": block.get("id"), "type": "function", "function": function}


def _tool(tool: Json, where: str) -> Json:
    if not is_function(tool):
        raise unsupported(f"{where}.type = {tool.get('type')!r}", "is a tool that only Anthropic's own models know")
    refuse_leftovers(tool, _TOOL_FIELDS, _TOOL_NEUTRAL)
    function = given(
        name=tool.get("name"),
        description=tool.get("description"),
        parameters=tool.get("input_schema"),
        strict=tool.get("strict"),
    )
    return {"type": "function", "function": function}


def _tool_choice(choice: Json | None) -> Json:
    if not choice:
        return {}
    kind = choice.get("type")
    chosen: Any = _CHOICES.get(str(kind))
    if kind == "tool":
        chosen = {"type": "function", "function": {"name": choice.get("name")}}
    if chosen is None:
        raise unsupported(f"tool_choice.type = {kind!r}", "expected auto, any, tool or none")
    parallel = False if choice.get("disable_parallel_tool_use") else None
    return given(tool_choice=chosen, parallel_tool_calls=parallel)


def _response_format(document: Json) -> Json | None:
    form = output_format(document)
    if form is None:
        return None
    if form.get("type") != "json_schema":
        raise unsupported(f"output_config.format.type = {form.get('type')!r}", "expected json_schema")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": form.get("schema"), "strict": True}}


def _reasoning(document: Json, *, engine: bool) -> Json:
    config, thinking = document.get("output_config") or {}, document.get("thinking") or {}
    refuse_leftovers(config, {"effort", "format"}, {})
    effort = config.get("effort")
    if thinking.get("type") == "disabled":
        return {"chat_template_kwargs": {"enable_thinking": False}} if engine else {"reasoning_effort": "none"}
    if effort is None and thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens") or 0
        effort = next((word for limit, word in _THINKING_BUDGETS if budget <= limit), "high")
    return given(reasoning_effort=effort)


def _user(metadata: Json | None) -> str | None:
    user = (metadata or {}).get("user_id")
    return user if isinstance(user, str) and len(user) <= MAX_USER_CHARACTERS else None
