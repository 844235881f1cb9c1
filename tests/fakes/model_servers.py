"""Model servers whose speed is known: they answer in their wire formats and state times that follow a formula."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFILL_SECONDS = 0.002
"""Seconds a prompt token."""
DECODE_SECONDS = 0.05
LOAD_SECONDS = 3.5


@dataclass
class ModelServer:
    """A running fake.

    Attributes:
        longest: prompts beyond so many tokens are cut silently, as Ollama does.
        forgets: whether a prompt sent again is computed again.
        pages: GET paths, or POST paths with fixed answers, by path.
        asked: bodies of the calls.
    """

    kind: str
    url: str = ""
    longest: int = 1_000_000
    pages: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    forgets: bool = False

    def answer(self, path: str, body: dict[str, Any]) -> list[bytes] | None:
        """The lines of a streamed answer."""
        self.asked.append(body)
        if self.broken:
            return [b'{"error": "out of memory"}\n']
        if path == "/api/generate":
            return list(self._ollama(body))
        if path == "/v1/completions":
            return list(self._openai(body))
        return None

    def _tokens(self, prompt: str) -> int:
        return min(self.longest, 3 * len(prompt.split()))

    def _ollama(self, body: dict[str, Any]) -> Iterator[bytes]:
        count, output = self._tokens(body["prompt"]), body["options"]["num_predict"]
        for _ in range(output):
            yield json.dumps({"model": body["model"], "response": " x", "done": False}).encode() + b"\n"
        first = len(self.asked) == 1
        again = not first and self.asked[-2].get("prompt") == body["prompt"] and not self.forgets
        yield (
            json.dumps(
                {
                    "model": body["model"],
                    "response": "",
                    "done": True,
                    "done_reason": "length",
                    "load_duration": round((LOAD_SECONDS if first else 0.01) * 1e9),
                    "prompt_eval_count": count,
                    "prompt_eval_duration": round((1 if again else count) * PREFILL_SECONDS * 1e9),
                    "eval_count": output,
                    "eval_duration": round((output - 1) * DECODE_SECONDS * 1e9),
                }
            ).encode()
            + b"\n"
        )

    def _openai(self, body: dict[str, Any]) -> Iterator[bytes]:
        output = body["max_tokens"]
        for _ in range(output):
            chunk = {"object": "text_completion", "choices": [{"index": 0, "text": " x", "finish_reason": None}]}
            yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        usage = {"prompt_tokens": self._tokens(body["prompt"]), "completion_tokens": output}
        yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"


@contextmanager
def serving(kind: str, **options: Any) -> Iterator[ModelServer]:
    """Serve until left."""
    fake = ModelServer(kind, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._page(fake.pages.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path in fake.pages:
                self._page(fake.pages[self.path])
                return
            lines = fake.answer(self.path, body)
            if lines is None:
                self._page(None)
                return
            self.send_response(200)
            self.end_headers()
            for line in lines:
                self.wfile.write(line)

        def _page(self, page: Any) -> None:
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(page).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


OLLAMA_PAGES: dict[str, Any] = {
    "/api/version": {"version": "0.12.6"},
    "/api/tags": {"models": [{"name": "llama3.3:70b", "size": 42520413916}]},
    "/api/ps": {"models": [{"name": "llama3.3:70b", "size_vram": 42520413916, "context_length": 4096}]},
    "/api/show": {
        "details": {"parameter_size": "70.6B", "quantization_level": "Q4_K_M"},
        "model_info": {"general.architecture": "llama", "general.parameter_count": 70553706560},
        "capabilities": ["completion", "tools"],
    },
}
VLLM_PAGES: dict[str, Any] = {
    "/version": {"version": "0.11.0"},
    "/v1/models": {"object": "list", "data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 4096}]},
}
