"""Answers kept as they are sent, and given again."""

from __future__ import annotations

from breakeven.accounts.answers import Answer
from breakeven.gateway.asgi import Headers, Message, Send

COST = "x-breakeven-cost-usd"
REPLAYED = (b"x-breakeven-replayed", b"true")


class Recorder:
    """Passes an answer on and keeps it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._body: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body.append(message.get("body", b""))
        await self._send(message)

    def answer(self) -> Answer:
        """What was sent."""
        headers = tuple(
            (name.decode(), value.decode("latin-1"))
            for name, value in self._start["headers"]
            if name == b"content-type" or name.startswith(b"x-breakeven-")
        )
        return Answer(self._start["status"], headers, b"".join(self._body))


class LastHeld:
    """Passes an answer on, save its last message, which waits until it is let go."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._last: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Pass one message on, or hold it back."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._last = message
        else:
            await self._send(message)

    async def let_go(self) -> None:
        """Send the last message, if there is one."""
        if self._last is not None:
            await self._send(self._last)


async def replay(send: Send, answer: Answer) -> None:
    """An answer given before, marked as such; it keeps the id of the call that was paid for and costs nothing more."""
    kept = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers if name != COST]
    headers: Headers = [*kept, REPLAYED, (COST.encode(), b"0")]
    if not answer.is_stream:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
