"""OpenAI's ``/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from breakeven.cloudsim import dialect
from breakeven.cloudsim.dialect import Event, Served
from breakeven.cloudsim.order import Answer, BadRequest, Block, Json, Order, Part, Tool, fingerprint, read_markers
from breakeven.cloudsim.tokens import TOKENS_A_MESSAGE, count, count_content, text_of

_FINISH = {"end": "stop", "stop_sequence": "stop", "length": "length", "tool": "tool_calls"}
THINKING = {"minimal": 8, "low": 16, "medium": 40, "high": 90, "xhigh": 120}


class OpenAIChat:
    """The chat completions dialect."""

    provider = "openai"
    path = "/v1/chat/completions"
    malformed = b"data: {this is no JSON\n\n"

    def read(self, document: Json) -> Order:
        """What the request asks for."""
        messages = dialect.require_list(document, "messages")
        tools = read_tools(document)
        blocks = [Block(dialect.encode(tool).decode(), count(str(tool))) for tool in document.get("tools") or ()]
        for index, message in enumerate(messages):
            if not isinstance(message.get("role"), str):
                raise BadRequest(f"messages[{index}].role: expected a string", f"messages[{index}].role")
            calls = message.get("tool_calls") or []
            size = TOKENS_A_MESSAGE + count_content(message.get("content"))
            size += sum(count(str(call.get("function"))) for call in calls)
            blocks.append(Block(f"{message['role']}: {text_of(message.get('content'))}{calls or ''}", size))
        last_text = text_of(messages[-1].get("content"))
        return Order(
            model=dialect.require_model(document),
            blocks=tuple(blocks),
            last_text=last_text,
            stream=document.get("stream") is True,
            fingerprint=fingerprint(document),
            answers_tool=messages[-1]["role"] == "tool",
            max_output=dialect.positive(document, "max_completion_tokens", "max_tokens"),
            stop=_stops(document.get("stop")),
            tools=tools,
            tool_choice=read_tool_choice(document.get("tool_choice")),
            schema=_schema(document.get("response_format")),
            thinking=THINKING.get(str(document.get("reasoning_effort")), 0),
            choices=dialect.positive(document, "n", most=128) or 1,
            user=dialect.string_of(document.get("user")),
            markers=read_markers(last_text),
        )

    def whole(self, served: Served) -> Json:
        """A ``chat.completion``."""
        choices = [_choice(index, answer) for index, answer in enumerate(served.answers)]
        whole = {**_head(served, "chat.completion"), "choices": choices}
        return {**whole, "usage": _usage(served)} if served.report_usage else whole

    def events(self, served: Served) -> Iterator[Event]:
        """``chat.completion.chunk`` events up to ``[DONE]``."""
        options = served.document.get("stream_options")
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        head = _head(served, "chat.completion.chunk")
        if wants_usage:
            head["usage"] = None

        def chunk(index: int, delta: Json, finish: str | None = None, tokens: int = 0) -> Event:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            return dialect.unnamed_event({**head, "choices": [choice]}, tokens)

        for index, answer in enumerate(served.answers):
            opening: Json = {"role": "assistant", "content": None if _calls(answer) else "", "refusal": None}
            yield chunk(index, opening, None, answer.thinking_tokens)
            for part in answer.parts:
                if part.kind == "text":
                    for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                        yield chunk(index, {"content": text}, None, tokens)
                elif part.kind == "tool":
                    call = {"index": 0, "id": f"call_{part.id}", "type": "function"}
                    yield chunk(index, {"tool_calls": [{**call, "function": {"name": part.name, "arguments": ""}}]})
                    for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
                        yield chunk(index, delta, None, tokens)
            yield chunk(index, {}, _FINISH[answer.ending])
        if wants_usage and served.report_usage:
            yield dialect.unnamed_event({**head, "choices": [], "usage": _usage(served)})
        yield Event(b"data: [DONE]\n\n")

    def error_event(self) -> bytes:
        """An error object where a chunk was due."""
        error = openai_error(500, "The server had an error while processing your request", "server_error", None)
        return dialect.unnamed_event(error).data


_KINDS = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error", 529: "server_error"}


def openai_error(status: int, message: str, code: str | None, param: str | None) -> Json:
    """The body of an error, the same at all of OpenAI's endpoints."""
    kind = "tokens" if "TPM" in message else _KINDS.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def read_tools(document: Json) -> tuple[Tool, ...]:
    """The functions on offer."""
    found = []
    for index, tool in enumerate(document.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest(f"tools[{index}].function.name: expected a string", f"tools[{index}].function.name")
        found.append(Tool(function["name"], function.get("parameters") or {"type": "object", "properties": {}}))
    return tuple(found)


def read_tool_choice(choice: Any) -> str:
    """``none``, ``auto``, ``required`` or the name of a function."""
    if isinstance(choice, dict):
        return str(choice.get("name") or (choice.get("function") or {}).get("name") or "auto")
    return str(choice or "auto")


def _schema(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


def _stops(stop: Any) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _calls(answer: Answer) -> list[Part]:
    return [part for part in answer.parts if part.kind == "tool"]


def _choice(index: int, answer: Answer) -> Json:
    calls = _calls(answer)
    text = "".join(part.text for part in answer.parts if part.kind == "text")
    message: Json = {"role": "assistant", "content": None if calls else text, "refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in calls
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _FINISH[answer.ending]}


def _head(served: Served, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{served.request_id.removeprefix('req_')}",
        "object": kind,
        "created": served.created,
        "model": served.order.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _usage(served: Served) -> Json:
    reasoning = sum(answer.thinking_tokens for answer in served.answers)
    return {
        "prompt_tokens": served.prompt.total,
        "completion_tokens": served.output_tokens,
        "total_tokens": served.prompt.total + served.output_tokens,
        "prompt_tokens_details": {"cached_tokens": served.prompt.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
