"""Server-sent events: split a byte stream into events, read their data."""

from __future__ import annotations

from breakeven.errors import StreamCut

MAX_EVENT_BYTES = 16 * 1024 * 1024
DONE = b"[DONE]"


class EventSplitter:
    """Cuts a stream of arbitrary chunks into whole events, bytes unchanged.

    Line ends may be LF or CRLF. ``rest`` is what has arrived of an event that is not complete yet.
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Whole events that this chunk completes, each with its closing blank line.

        Raises:
            StreamCut: when one event exceeds 16 MiB, which no completion does.
        """
        data = self.rest + chunk if self.rest else chunk
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self.rest = data.split(b"\n\n")
        if len(self.rest) > MAX_EVENT_BYTES:
            raise StreamCut(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
        return [event + b"\n\n" for event in events if event]


def event_data(event: bytes) -> bytes | None:
    """The ``data`` of an event, several lines joined; ``None`` for comments and heartbeats."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return event[6:-2]
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def encode_event(data: bytes) -> bytes:
    """One event with this data."""
    return b"data: " + data + b"\n\n"
