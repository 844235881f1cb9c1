"""A small real web server for the wire formats of others: fixed answers by path, and what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What to answer; a body longer than ``cut_after`` bytes breaks off there with the connection."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None


def as_json(value: Any, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), headers={"Content-Type": "application/json", **headers})


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes = b""


Answers = Callable[[Asked], Answer]


@dataclass
class Web:
    url: str
    port: int
    asked: list[Asked]


@contextmanager
def web(answers: Answers) -> Iterator[Web]:
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            asked.append(request)
            answer = answers(request)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_after])
            self.close_connection = answer.cut_after is not None

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Web(f"http://127.0.0.1:{server.server_port}", server.server_port, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def fixed_web(pages: dict[str, Answer]) -> Iterator[Web]:
    with web(lambda asked: pages.get(asked.path, Answer(status=404))) as server:
        yield server
