"""A local stand-in for an OpenAI-compatible server, as cheap as Python allows.

It answers every POST with the same ~0.6 kB completion, streamed as server-sent
events when the body asks for a stream, so that what a benchmark measures is the
program in front of it. Asked for the model ``mock-paced`` it streams 32 chunks
one by one, as a model does. Run it as ``python benchmarks/upstream_mock.py PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

WORDS = ["breakeven", "keeps", "the", "bulk", "of", "the", "work", "on", "the", "box", "and", "sends", "the", "rest"]
CHUNKS = 8
PACED_CHUNKS = 32
PACE_SECONDS = 0.005
"""Between two chunks of ``mock-paced``: 200 tokens a second."""


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _stream_events(chunks: int) -> list[bytes]:
    base = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1, "model": "mock"}
    events = []
    for index in range(chunks):
        delta = {"content": " ".join(WORDS[index % CHUNKS :: CHUNKS]) + " "}
        events.append(_event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    events.append(_event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    usage = {"prompt_tokens": 250, "completion_tokens": 120, "total_tokens": 370}
    events.append(_event({**base, "choices": [], "usage": usage}))
    events.append(b"data: [DONE]\n\n")
    return events


def _plain_body() -> bytes:
    message = {"role": "assistant", "content": " ".join(WORDS * 6)}
    return json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1,
            "model": "mock",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 250, "completion_tokens": 120, "total_tokens": 370},
        }
    ).encode()


def _response(content_type: bytes, body: bytes) -> bytes:
    return (
        (b"HTTP/1.1 200 OK\r\ncontent-type: " + content_type + b"\r\ncontent-length: " + str(len(body)).encode())
        + b"\r\n\r\n"
        + body
    )


STREAM = _response(b"text/event-stream", b"".join(_stream_events(CHUNKS)))
PACED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PACED = [b"%x\r\n%b\r\n" % (len(event), event) for event in _stream_events(PACED_CHUNKS)]
PLAIN = _response(b"application/json", _plain_body())


class MockProtocol(asyncio.Protocol):
    """One connection: answers as soon as a request is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        wants_stream = b'"stream":true' in self.body or b'"stream": true' in self.body
        paced = wants_stream and b'"mock-paced"' in self.body
        self.body = b""
        if paced:
            self._write(PACED_HEAD)
            self._send_paced(0)
        else:
            self._write(STREAM if wants_stream else PLAIN)

    def _send_paced(self, index: int) -> None:
        if index < PACED_CHUNKS:
            self._write(PACED[index])
            asyncio.get_running_loop().call_later(PACE_SECONDS, self._send_paced, index + 1)
        else:
            self._write(b"".join(PACED[index:]) + b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(MockProtocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
