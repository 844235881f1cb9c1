"""Anthropic's ``/v1/messages``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from breakeven.cloudsim import dialect
from breakeven.cloudsim.dialect import Event, Served
from breakeven.cloudsim.order import BadRequest, Block, CacheTtl, Json, Order, Part, Tool, fingerprint, read_markers
from breakeven.cloudsim.tokens import TOKENS_A_MESSAGE, count, count_content, text_of

_STOP_REASON = {"end": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool": "tool_use"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
MOST_MARKS = 4
THINKING_TOKENS = 48


class AnthropicMessages:
    """The messages dialect."""

    provider = "anthropic"
    path = "/v1/messages"
    malformed = b"event: content_block_delta\ndata: {this is no JSON\n\n"

    def read(self, document: Json) -> Order:
        """What the request asks for, ``max_tokens`` among it."""
        if dialect.positive(document, "max_tokens") is None:
            raise BadRequest("max_tokens: Field required", "max_tokens")
        return read_prompt(document)

    def whole(self, served: Served) -> Json:
        """A ``message``."""
        answer = served.answers[0]
        message = {
            **_message(served),
            "content": [_block(part) for part in answer.parts if part.tokens or part.kind == "tool"],
            "stop_reason": _STOP_REASON[answer.ending],
            "stop_sequence": answer.stop_sequence,
        }
        return {**message, "usage": _usage(served, served.output_tokens)} if served.report_usage else message

    def events(self, served: Served) -> Iterator[Event]:
        """Events from ``message_start`` to ``message_stop``."""
        answer = served.answers[0]
        start = {**_message(served), "content": [], "stop_reason": None, "stop_sequence": None}
        if served.report_usage:
            start["usage"] = _usage(served, min(1, served.output_tokens))
        yield dialect.named_event({"type": "message_start", "message": start})
        for index, part in enumerate(answer.parts):
            opened = _block(Part(part.kind, (), part.name, part.id))
            yield dialect.named_event({"type": "content_block_start", "index": index, "content_block": opened})
            if index == 0:
                yield dialect.named_event({"type": "ping"})
            for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                yield _delta(index, _DELTAS[part.kind], text, tokens)
            if part.kind == "thinking":
                yield _delta(index, ("signature_delta", "signature"), _signature(part), 0)
            yield dialect.named_event({"type": "content_block_stop", "index": index})
        ending = {"stop_reason": _STOP_REASON[answer.ending], "stop_sequence": answer.stop_sequence}
        last: Json = {"type": "message_delta", "delta": ending}
        if served.report_usage:
            usage = _usage(served, served.output_tokens)
            names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
            last["usage"] = {name: usage[name] for name in names}
        yield dialect.named_event(last)
        yield dialect.named_event({"type": "message_stop"})

    def error_event(self) -> bytes:
        """An ``error`` event."""
        return dialect.named_event(anthropic_error(529, "Overloaded", None)).data


def anthropic_error(status: int, message: str, request_id: str | None) -> Json:
    """The body of an error; within a stream it names no request."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    named = {} if request_id is None else {"request_id": request_id}
    return {"type": "error", "error": {"type": kind, "message": message}, **named}


def read_prompt(document: Json) -> Order:
    """What a request asks for; ``count_tokens`` takes the same without ``max_tokens``."""
    messages = dialect.require_list(document, "messages")
    blocks = [_prompt_block(tool, _tool_tokens(tool), "tool") for tool in document.get("tools") or ()]
    system = document.get("system")
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    blocks += [_prompt_block(part, count_content(part), "system") for part in system or ()]
    for index, message in enumerate(messages):
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise BadRequest(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise BadRequest(f"messages.{index}.content: Field required")
        for place, part in enumerate(parts):
            size = count_content(part) + (TOKENS_A_MESSAGE if place == 0 else 0)
            blocks.append(_prompt_block(part, size, role))
    if sum(block.ttl is not None for block in blocks) > MOST_MARKS:
        raise BadRequest(f"A maximum of {MOST_MARKS} blocks with cache_control may be provided.")
    last = messages[-1].get("content")
    last_text = text_of(last)
    metadata = document.get("metadata")
    return Order(
        model=dialect.require_model(document),
        blocks=tuple(blocks),
        last_text=last_text,
        stream=document.get("stream") is True,
        fingerprint=fingerprint(document),
        answers_tool=isinstance(last, list) and any(part.get("type") == "tool_result" for part in last),
        max_output=dialect.positive(document, "max_tokens"),
        stop=tuple(document.get("stop_sequences") or ()),
        tools=_tools(document),
        tool_choice=_tool_choice(document.get("tool_choice")),
        schema=_schema(document),
        thinking=_thinking(document.get("thinking")),
        user=dialect.string_of(metadata.get("user_id")) if isinstance(metadata, dict) else None,
        markers=read_markers(last_text),
    )


_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
}


def _delta(index: int, kind: tuple[str, str], text: str, tokens: int) -> Event:
    delta = {"type": kind[0], kind[1]: text}
    return dialect.named_event({"type": "content_block_delta", "index": index, "delta": delta}, tokens)


def _prompt_block(part: Any, tokens: int, role: str) -> Block:
    """A block whose text leaves out its mark, for marks move on from turn to turn while the prefix stays."""
    if not isinstance(part, dict):
        raise BadRequest(f"{role}: Input should be an object")
    unmarked = {key: value for key, value in part.items() if key != "cache_control"}
    mark = part.get("cache_control")
    ttl: CacheTtl | None = None
    if isinstance(mark, dict):
        ttl = "1h" if mark.get("ttl") == "1h" else "5m"
    return Block(f"{role}: {json.dumps(unmarked, sort_keys=True)}", tokens, ttl)


def _tool_tokens(tool: Any) -> int:
    return count(json.dumps({key: value for key, value in tool.items() if key != "cache_control"}))


def _tools(document: Json) -> tuple[Tool, ...]:
    return tuple(
        Tool(str(tool.get("name")), tool.get("input_schema") or {"type": "object", "properties": {}})
        for tool in document.get("tools") or ()
    )


def _tool_choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return "auto"
    kind = choice.get("type")
    return str(choice.get("name")) if kind == "tool" else {"any": "required", "none": "none"}.get(str(kind), "auto")


def _schema(document: Json) -> Json | None:
    config = document.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else document.get("output_format")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None


def _thinking(wanted: Any) -> int:
    if not isinstance(wanted, dict) or wanted.get("type") not in ("enabled", "adaptive"):
        return 0
    budget = wanted.get("budget_tokens")
    return min(budget, THINKING_TOKENS) if isinstance(budget, int) else THINKING_TOKENS


def _signature(part: Part) -> str:
    return hashlib.sha256(part.text.encode()).hexdigest()


def _block(part: Part) -> Json:
    if part.kind == "thinking":
        return {"type": "thinking", "thinking": part.text, "signature": _signature(part) if part.tokens else ""}
    if part.kind == "tool":
        return {"type": "tool_use", "id": f"toolu_{part.id}", "name": part.name, "input": _arguments(part)}
    return {"type": "text", "text": part.text}


def _arguments(part: Part) -> Any:
    try:
        return json.loads(part.text or "{}")
    except ValueError:  # the answer's limit fell into the arguments
        return {}


def _message(served: Served) -> Json:
    return {
        "id": f"msg_{served.request_id.removeprefix('req_')}",
        "type": "message",
        "role": "assistant",
        "model": served.order.model,
    }


def _usage(served: Served, output: int) -> Json:
    prompt = served.prompt
    return {
        "input_tokens": prompt.uncached,
        "cache_creation_input_tokens": prompt.cache_write_5m + prompt.cache_write_1h,
        "cache_read_input_tokens": prompt.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.cache_write_5m,
            "ephemeral_1h_input_tokens": prompt.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }
