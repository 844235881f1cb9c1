"""Reasoning that a model's maker has signed, carried through dialects that have no place for the signature.

Anthropic's models demand their thinking back, signature included, while they work with tools. A client of chat
completions finds it in ``reasoning_details`` of the message, a client of responses in ``encrypted_content`` of the
reasoning item; what comes back there becomes a thinking block again.
"""

from __future__ import annotations

from breakeven.wire.body import Json

SIGNED_FORMAT = "anthropic-claude-v1"
"""The word by which ``reasoning_details`` say whose signature they carry."""
_SIGNED, _REDACTED = f"{SIGNED_FORMAT}:", f"{SIGNED_FORMAT}-redacted:"


def is_signed(block: Json) -> bool:
    """Whether a block of a message is thinking that its maker signed."""
    match block.get("type"):
        case "thinking":
            return bool(block.get("signature"))
        case "redacted_thinking":
            return True
    return False


def detail_of_block(block: Json, index: int) -> Json:
    """A signed thinking block as an entry of ``reasoning_details``."""
    if block["type"] == "thinking":
        kept = {"type": "reasoning.text", "text": block.get("thinking", ""), "signature": block.get("signature")}
    else:
        kept = {"type": "reasoning.encrypted", "data": block.get("data")}
    return {**kept, "format": SIGNED_FORMAT, "index": index}


def block_of_detail(detail: Json) -> Json | None:
    """The thinking block of an entry of ``reasoning_details``; ``None`` when it carries no signature of Anthropic's."""
    if detail.get("type") == "reasoning.text" and detail.get("signature"):
        return {"type": "thinking", "thinking": detail.get("text") or "", "signature": detail["signature"]}
    if detail.get("type") == "reasoning.encrypted" and detail.get("format") == SIGNED_FORMAT:
        return {"type": "redacted_thinking", "data": detail.get("data")}
    return None


def without_details(chat: Json) -> Json:
    """A translated request without ``reasoning_details``, which only Anthropic's models have a use for."""
    messages = [
        {key: value for key, value in message.items() if key != "reasoning_details"} for message in chat["messages"]
    ]
    return {**chat, "messages": messages}


def seal_of_detail(detail: Json) -> str:
    """The ``encrypted_content`` that carries an entry of ``reasoning_details`` through a responses client."""
    if detail.get("type") == "reasoning.encrypted":
        return f"{_REDACTED}{detail.get('data')}"
    return f"{_SIGNED}{detail.get('signature')}"


def chat_details(item: Json) -> list[Json]:
    """The ``reasoning_details`` of a reasoning item; empty when it carries no signature of Anthropic's."""
    sealed = item.get("encrypted_content") or ""
    if sealed.startswith(_REDACTED):
        block = {"type": "redacted_thinking", "data": sealed.removeprefix(_REDACTED)}
    elif sealed.startswith(_SIGNED):
        text = "".join(part.get("text", "") for part in item.get("content") or ())
        block = {"type": "thinking", "thinking": text, "signature": sealed.removeprefix(_SIGNED)}
    else:
        return []
    return [detail_of_block(block, 0)]
