"""The official SDKs as judges: what they accept is what their clients can read."""

import json
from collections.abc import Iterator
from typing import Any

import pydantic
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from breakeven.wire.sse import DONE, event_data

REQUESTS = {
    "openai": pydantic.TypeAdapter(CompletionCreateParamsStreaming),
    "anthropic": pydantic.TypeAdapter(MessageCreateParamsStreaming),
    "responses": pydantic.TypeAdapter(ResponseCreateParamsStreaming),
}
ANSWERS = {"openai": ChatCompletion, "anthropic": Message, "responses": Response}
MESSAGE_EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RawMessageStreamEvent)

RESPONSE_EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)


def check_request(dialect: str, body: Any) -> None:
    """Hold a request against the SDK's types; they validate lists lazily, so these are walked through."""
    _exhaust(REQUESTS[dialect].validate_python(body))


def _exhaust(value: Any) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            _exhaust(inner)
    elif isinstance(value, (list, Iterator)) or type(value).__name__ == "ValidatorIterator":
        for inner in value:
            _exhaust(inner)


def check_answer(dialect: str, answer: Any) -> None:
    ANSWERS[dialect].model_validate(answer)


def accumulate(dialect: str, events: list[bytes]) -> dict[str, Any]:
    """The answer that the SDK's own accumulator makes of a stream, each event held against its types."""
    documents = [json.loads(data) for event in events if (data := event_data(event)) is not None and data != DONE]
    if dialect == "openai":
        state = ChatCompletionStreamState()
        for document in documents:
            state.handle_chunk(ChatCompletionChunk.model_validate(document))
        return state.current_completion_snapshot.to_dict()
    return _message(documents) if dialect == "anthropic" else _response(documents)


def _response(documents: list[Any]) -> dict[str, Any]:
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for number, document in enumerate(documents):
        assert document["sequence_number"] == number
        events = state.handle_event(RESPONSE_EVENT.validate_python(document))
    grown = state._ResponseStreamState__current_snapshot
    last = documents[-1]["response"]
    assert [item.id for item in grown.output] == [item["id"] for item in last["output"]]
    assert events
    return last


def _message(documents: list[Any]) -> dict[str, Any]:
    snapshot, buffers = None, {}
    for document in documents:
        event = MESSAGE_EVENT.validate_python(document)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot.to_dict()


def essence(dialect: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says, without what SDKs add or streams leave out."""
    if dialect == "openai":
        choice = answer["choices"][0]
        message = choice["message"]
        functions = [(call["id"], call["function"]) for call in message.get("tool_calls") or []]
        return {
            "model": answer["model"],
            "text": message.get("content") or "",
            "reasoning": message.get("reasoning_content") or "",
            "refusal": message.get("refusal"),
            "calls": [(id_, call["name"], json.loads(call["arguments"] or "{}")) for id_, call in functions],
            "finish": choice["finish_reason"],
            "usage": answer.get("usage"),
        }
    if dialect == "responses":
        return {key: answer[key] for key in ("model", "status", "incomplete_details", "usage")} | {
            "output": [
                {key: json.loads(value) if key == "arguments" else value for key, value in item.items() if key != "id"}
                for item in answer["output"]
            ]
        }
    return {
        "model": answer["model"],
        "content": answer["content"],
        "stop": answer["stop_reason"],
        "usage": {key: value for key, value in answer["usage"].items() if value},
    }
