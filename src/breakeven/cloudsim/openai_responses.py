"""OpenAI's ``/v1/responses``, stateless."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counter
from typing import Any

from breakeven.cloudsim import dialect
from breakeven.cloudsim.dialect import Event, Served
from breakeven.cloudsim.openai_chat import THINKING, read_tool_choice
from breakeven.cloudsim.order import BadRequest, Block, Json, Order, Part, Tool, fingerprint, read_markers
from breakeven.cloudsim.tokens import TOKENS_A_MESSAGE, count, count_content, text_of


class OpenAIResponses:
    """The responses dialect; what it was told with ``store`` it does not remember."""

    provider = "openai"
    path = "/v1/responses"
    malformed = b"event: response.output_text.delta\ndata: {this is no JSON\n\n"

    def read(self, document: Json) -> Order:
        """What the request asks for."""
        if document.get("previous_response_id"):
            raise BadRequest("the simulated cloud keeps no responses", "previous_response_id")
        given = document.get("input")
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        items = dialect.require_list({"input": given}, "input")
        blocks = [Block(str(tool), count(str(tool))) for tool in document.get("tools") or ()]
        if instructions := dialect.string_of(document.get("instructions")):
            blocks.append(Block(f"system: {instructions}", TOKENS_A_MESSAGE + count(instructions)))
        for item in items:
            content = _content(item)
            role = str(item.get("role") or item.get("type"))
            blocks.append(Block(f"{role}: {text_of(content)}", TOKENS_A_MESSAGE + count_content(content)))
        last_text = text_of(_content(items[-1]))
        reasoning = document.get("reasoning")
        effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
        return Order(
            model=dialect.require_model(document),
            blocks=tuple(blocks),
            last_text=last_text,
            stream=document.get("stream") is True,
            fingerprint=fingerprint(document),
            answers_tool=items[-1].get("type") == "function_call_output",
            max_output=dialect.positive(document, "max_output_tokens"),
            tools=_tools(document),
            tool_choice=read_tool_choice(document.get("tool_choice")),
            schema=_schema(document.get("text")),
            thinking=THINKING.get(str(effort), 0),
            user=dialect.string_of(document.get("user")),
            markers=read_markers(last_text),
        )

    def whole(self, served: Served) -> Json:
        """A finished ``response``."""
        items = [_item(served, part, "completed") for part in served.answers[0].parts]
        return _response(served, _status(served), items)

    def events(self, served: Served) -> Iterator[Event]:
        """Events from ``response.created`` to ``response.completed`` or ``response.incomplete``."""
        numbers = counter()

        def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
            return dialect.named_event({"type": kind, "sequence_number": next(numbers), **fields}, tokens)

        yield event("response.created", response=_response(served, "in_progress", []))
        yield event("response.in_progress", response=_response(served, "in_progress", []))
        items = []
        for index, part in enumerate(served.answers[0].parts):
            at: Json = {"item_id": _item_id(served, part), "output_index": index}
            started = _item(served, Part(part.kind, (), part.name, part.id), "in_progress")
            if part.kind != "tool":
                started["summary" if part.kind == "thinking" else "content"] = []
            yield event("response.output_item.added", output_index=index, item=started)
            if part.kind == "text":
                inside: Json = {**at, "content_index": 0}
                empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
                yield event("response.content_part.added", **inside, part=empty)
                for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                    yield event("response.output_text.delta", tokens, **inside, delta=text, logprobs=[])
                yield event("response.output_text.done", **inside, text=part.text, logprobs=[])
                yield event("response.content_part.done", **inside, part={**empty, "text": part.text})
            elif part.kind == "tool":
                for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                    yield event("response.function_call_arguments.delta", tokens, **at, delta=text)
                yield event("response.function_call_arguments.done", **at, arguments=part.text, name=part.name)
            elif _summarised(served):
                inside = {**at, "summary_index": 0}
                empty = {"type": "summary_text", "text": ""}
                yield event("response.reasoning_summary_part.added", **inside, part=empty)
                for text, tokens in dialect.pieces(part.tokens, served.order.fingerprint):
                    yield event("response.reasoning_summary_text.delta", tokens, **inside, delta=text)
                yield event("response.reasoning_summary_text.done", **inside, text=part.text)
                yield event("response.reasoning_summary_part.done", **inside, part={**empty, "text": part.text})
            items.append(_item(served, part, "completed"))
            silent = len(part.tokens) if part.kind == "thinking" and not _summarised(served) else 0
            yield event("response.output_item.done", silent, output_index=index, item=items[-1])
        status = _status(served)
        yield event(f"response.{status}", response=_response(served, status, items))

    def error_event(self) -> bytes:
        """An ``error`` event."""
        message = "The server had an error while processing your request"
        error = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0}
        return dialect.named_event(error).data


def _content(item: Json) -> Any:
    if item.get("type") == "function_call":
        return f"{item.get('name')} {item.get('arguments')}"
    if item.get("type") == "function_call_output":
        return item.get("output")
    return item.get("content") if "content" in item else item.get("summary")


def _tools(document: Json) -> tuple[Tool, ...]:
    found = []
    for index, tool in enumerate(document.get("tools") or ()):
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            raise BadRequest(f"tools[{index}]: the simulated cloud runs functions only", f"tools[{index}]")
        found.append(Tool(tool["name"], tool.get("parameters") or {"type": "object", "properties": {}}))
    return tuple(found)


def _schema(text: Any) -> Json | None:
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    schema = wanted.get("schema")
    return schema if isinstance(schema, dict) else None


def _summarised(served: Served) -> bool:
    reasoning = served.document.get("reasoning")
    return isinstance(reasoning, dict) and reasoning.get("summary") is not None


def _status(served: Served) -> str:
    return "incomplete" if served.answers[0].ending == "length" else "completed"


def _item_id(served: Served, part: Part) -> str:
    prefix = {"text": "msg", "tool": "fc", "thinking": "rs"}[part.kind]
    return f"{prefix}_{served.request_id.removeprefix('req_')}"


def _item(served: Served, part: Part, status: str) -> Json:
    item: Json = {"id": _item_id(served, part)}
    if part.kind == "text":
        words = {"type": "output_text", "annotations": [], "logprobs": [], "text": part.text}
        return {**item, "type": "message", "status": status, "role": "assistant", "content": [words]}
    if part.kind == "tool":
        call = {"call_id": f"call_{part.id}", "name": part.name, "arguments": part.text}
        return {**item, "type": "function_call", "status": status, **call}
    summary = [{"type": "summary_text", "text": part.text}] if _summarised(served) else []
    return {**item, "type": "reasoning", "summary": summary}


def _response(served: Served, status: str, items: list[Json]) -> Json:
    document = served.document
    ended = status != "in_progress"
    return {
        "id": f"resp_{served.request_id.removeprefix('req_')}",
        "object": "response",
        "created_at": served.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": document.get("instructions"),
        "max_output_tokens": document.get("max_output_tokens"),
        "model": served.order.model,
        "output": items,
        "parallel_tool_calls": document.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(document.get("reasoning") or {})},
        "service_tier": "default",
        "store": False,
        "temperature": document.get("temperature", 1.0),
        "text": document.get("text") or {"format": {"type": "text"}},
        "tool_choice": document.get("tool_choice", "auto"),
        "tools": document.get("tools") or [],
        "top_p": document.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": _usage(served) if ended and served.report_usage else None,
        "user": served.order.user,
        "metadata": document.get("metadata") or {},
    }


def _usage(served: Served) -> Json:
    return {
        "input_tokens": served.prompt.total,
        "input_tokens_details": {"cached_tokens": served.prompt.cache_read, "cache_write_tokens": 0},
        "output_tokens": served.output_tokens,
        "output_tokens_details": {"reasoning_tokens": served.answers[0].thinking_tokens},
        "total_tokens": served.prompt.total + served.output_tokens,
    }
