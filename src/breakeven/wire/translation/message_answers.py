"""Whole answers between Anthropic messages and chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.errors import UpstreamError
from breakeven.wire import anthropic_messages, openai_chat
from breakeven.wire.body import Json
from breakeven.wire.openai_quirks import plain
from breakeven.wire.translation.chat_to_messages import tool_id
from breakeven.wire.translation.messages_to_chat import tool_call
from breakeven.wire.translation.reasoning import block_of_detail, detail_of_block, is_signed

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
FINISH_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_decode = msgspec.json.Decoder().decode


def stop_reason(finish: str | None, *, calls_tools: bool, refuses: bool) -> str:
    """Why a chat completion ended, in Anthropic's words. Some servers call a forced tool's call a plain stop."""
    if calls_tools and finish != "length":
        return "tool_use"
    return "refusal" if refuses else STOP_REASONS.get(str(finish), "end_turn")


def message_to_completion(message: Json, *, created: int) -> Json:
    """A message as a chat completion; ``created`` is its Unix time, which messages do not carry."""
    blocks: list[Json] = message.get("content") or []
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    calls = [tool_call(block) for block in blocks if block["type"] == "tool_use"]
    thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    answer: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None, "refusal": None}
    if thoughts:
        answer["reasoning_content"] = "".join(block.get("thinking", "") for block in thoughts)
        signed = [block for block in thoughts if is_signed(block)]
        answer["reasoning_details"] = [detail_of_block(block, index) for index, block in enumerate(signed)]
    if calls:
        answer["tool_calls"] = calls
    if message.get("stop_reason") == "refusal":
        answer["refusal"] = (message.get("stop_details") or {}).get("explanation")
    finish = FINISH_REASONS.get(str(message.get("stop_reason")), "stop")
    counts = anthropic_messages.read_usage(message.get("usage"))
    return {
        "id": message.get("id") or "",
        "object": "chat.completion",
        "created": created,
        "model": message.get("model") or "",
        "choices": [{"index": 0, "message": answer, "finish_reason": finish, "logprobs": None}],
        **({"usage": openai_chat.write_usage(counts)} if counts is not None else {}),
    }


def completion_to_message(completion: Json) -> Json:
    """The first choice of a chat completion as a message.

    A call of a tool that broke off at the limit is left out, as there is no input to give.

    Raises:
        UpstreamError: when the model called a tool with something that is no JSON object.
    """
    choice: Json = (completion.get("choices") or [{}])[0]
    answer = plain(choice.get("message") or {})
    finish, calls = choice.get("finish_reason"), answer.get("tool_calls") or []
    blocks: list[Json] = [
        block for detail in answer.get("reasoning_details") or () if (block := block_of_detail(detail)) is not None
    ]
    thinking = answer.get("reasoning_content")
    if thinking and not blocks:
        blocks.append({"type": "thinking", "thinking": thinking, "signature": ""})
    blocks += [{"type": "text", "text": text} for text in (answer.get("content"), answer.get("refusal")) if text]
    for index, call in enumerate(calls):
        block = _tool_use(call, f"{completion.get('id') or 'call'}_{index}")
        if block is not None:
            blocks.append(block)
        elif finish != "length":
            name = (call.get("function") or {}).get("name")
            raise UpstreamError(f"the model called {name} with arguments that are no JSON object")
    counts = openai_chat.read_usage(completion.get("usage"))
    return {
        "id": completion.get("id") or "",
        "type": "message",
        "role": "assistant",
        "model": completion.get("model") or "",
        "content": blocks,
        "stop_reason": stop_reason(finish, calls_tools=bool(calls), refuses=bool(answer.get("refusal"))),
        "stop_sequence": None,
        "usage": anthropic_messages.write_usage(counts)
        if counts is not None
        else {"input_tokens": 0, "output_tokens": 0},
    }


def _tool_use(call: Json, fallback_id: str) -> Json | None:
    function = call.get("function") or {}
    given = parsed_object(function.get("arguments"))
    if given is None:
        return None
    return {
        "type": "tool_use",
        "id": tool_id(call.get("id") or fallback_id),
        "name": function.get("name") or "",
        "input": given,
    }


def parsed_object(text: Any) -> Json | None:
    """A JSON object out of a model's text; nothing at all stands for an empty one."""
    if not text:
        return {}
    try:
        parsed = _decode(text)
    except (msgspec.DecodeError, TypeError):
        return None
    return parsed if isinstance(parsed, dict) else None
