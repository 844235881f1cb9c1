"""Whole answers between OpenAI responses and chat completions."""

from __future__ import annotations

from breakeven.wire import openai_chat, responses
from breakeven.wire.body import Json
from breakeven.wire.openai_quirks import plain
from breakeven.wire.responses_events import FunctionCall, Item, Message, Reasoning, ResponseEvents
from breakeven.wire.translation.reasoning import chat_details, seal_of_detail

_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "reasoning", "safety_identifier", "service_tier", "temperature", "text", "tool_choice", "tools", "top_p",
    "truncation", "user",
)  # fmt: skip
_DEFAULTS: Json = {
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "metadata": {},
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
}
_ID_CHARACTERS = 40
"""OpenAI takes ids of 64 characters at most when its items come back: what we put around one fits into the rest."""


def short_id(identifier: str | None) -> str:
    """The end of an upstream's id, as a part of ids of items."""
    return (identifier or "")[-_ID_CHARACTERS:]


def shell(request: Json, *, identifier: str, model: str, created: int) -> Json:
    """A response without output. Like OpenAI's, it repeats what the request asked for."""
    echo = {key: request.get(key) for key in _ECHOED}
    return {
        "id": f"resp_{identifier}",
        "object": "response",
        "created_at": created,
        "model": model,
        "error": None,
        "incomplete_details": None,
        "previous_response_id": None,
        "background": False,
        "store": False,
        "usage": None,
        **echo,
        **{key: value for key, value in _DEFAULTS.items() if echo[key] is None},
    }


def ending(finish: str | None) -> Json:
    """Status of a response, and what made it incomplete, out of a chat completion's reason to end."""
    match finish:
        case "length":
            return {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        case "content_filter":
            return {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    return {"status": "completed"}


def completion_to_response(completion: Json, request: Json, *, created: int) -> Json:
    """The first choice of a chat completion as a response to ``request``."""
    identifier = short_id(completion.get("id"))
    choice: Json = (completion.get("choices") or [{}])[0]
    counts = openai_chat.read_usage(completion.get("usage"))
    head = shell(request, identifier=identifier, model=completion.get("model") or "", created=created)
    events = ResponseEvents(head)
    for item, pieces in _items(plain(choice.get("message") or {}), identifier):
        events.add(item)
        for kind, text in pieces:
            if isinstance(item, FunctionCall):
                item.write(events, text)
            elif isinstance(item, Message | Reasoning):
                item.write(events, kind, text)
    end = ending(choice.get("finish_reason"))
    for item in events.items:
        item.close(events, end["status"])
    usage = responses.write_usage(counts) if counts is not None else None
    return {**head, **end, "output": [item.document() for item in events.items], "usage": usage}


def _items(answer: Json, identifier: str) -> list[tuple[Item, list[tuple[str, str]]]]:
    """Items of output, each with its pieces of text by their kind."""
    items: list[tuple[Item, list[tuple[str, str]]]] = []
    details = answer.get("reasoning_details") or []
    thinking = answer.get("reasoning_content")
    for index, detail in enumerate(details):
        thought = Reasoning(f"{responses.OWN_REASONING}{identifier}_{index}")
        thought.signature = seal_of_detail(detail)
        items.append((thought, [("reasoning_text", detail["text"])] if detail.get("text") else []))
    if thinking and not details:
        items.append((Reasoning(f"{responses.OWN_REASONING}{identifier}"), [("reasoning_text", thinking)]))
    said = [("output_text", answer.get("content")), ("refusal", answer.get("refusal"))]
    calls = answer.get("tool_calls") or []
    pieces = [(kind, text) for kind, text in said if text]
    if pieces or not calls:
        items.append((Message(f"msg_{identifier}"), pieces))
    for index, call in enumerate(calls):
        function = call.get("function") or {}
        made = FunctionCall(
            f"fc_{identifier}_{index}", call.get("id") or f"call_{identifier}_{index}", function.get("name") or ""
        )
        items.append((made, [("", function.get("arguments") or "")]))
    return items


def response_to_completion(response: Json, *, created: int) -> Json:
    """A response as a chat completion; ``created`` is used when it does not tell its own time."""
    answer: Json = {"role": "assistant", "content": None, "refusal": None}
    thoughts: list[str] = []
    calls: list[Json] = []
    for item in response.get("output") or ():
        match item.get("type"):
            case "message":
                for part in item.get("content") or ():
                    field, text = ("refusal", "refusal") if part.get("type") == "refusal" else ("content", "text")
                    answer[field] = (answer[field] or "") + (part.get(text) or "")
            case "reasoning":
                thoughts += [part.get("text", "") for part in item.get("content") or item.get("summary") or ()]
                if details := chat_details(item):
                    answer["reasoning_details"] = [*answer.get("reasoning_details", ()), *details]
            case "function_call":
                function = {"name": item.get("name"), "arguments": item.get("arguments")}
                calls.append({"id": item.get("call_id"), "type": "function", "function": function})
    if thoughts:
        answer["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        answer["tool_calls"] = calls
    elif answer["content"] is None and answer["refusal"] is None:
        answer["content"] = ""
    counts = responses.read_usage(response.get("usage"))
    finish = finish_reason(response, calls_tools=bool(calls))
    return {
        "id": response.get("id") or "",
        "object": "chat.completion",
        "created": int(response.get("created_at") or created),
        "model": response.get("model") or "",
        "choices": [{"index": 0, "message": answer, "finish_reason": finish, "logprobs": None}],
        **({"usage": openai_chat.write_usage(counts)} if counts is not None else {}),
    }


def finish_reason(response: Json, *, calls_tools: bool) -> str:
    """Why a response ended, in the words of chat completions."""
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if calls_tools else "stop"
