"""What the translators of streams have in common."""

from __future__ import annotations

import msgspec

from breakeven.errors import StreamCut
from breakeven.wire.body import MISSHAPEN, Json
from breakeven.wire.sse import DONE, EventSplitter, event_data

_decode = msgspec.json.Decoder().decode


class Chained:
    """Two translators, one after the other."""

    def __init__(self, first: EventTranslator, second: EventTranslator) -> None:
        self._first = first
        self._second = second

    def feed(self, events: list[bytes]) -> bytes:
        """Translate what has arrived."""
        return self._second.feed(EventSplitter().feed(self._first.feed(events)))

    def end(self) -> bytes:
        """What closes the stream."""
        return self._second.feed(EventSplitter().feed(self._first.end())) + self._second.end()


class EventTranslator:
    """Translates a stream piece by piece. What closes the stream is held back for :meth:`end`."""

    def feed(self, events: list[bytes]) -> bytes:
        """Translate what has arrived; comments are passed on, they keep connections alive.

        Raises:
            StreamCut: when an event is not what its dialect makes it.
        """
        out: list[bytes] = []
        for event in events:
            data = event_data(event)
            if data is None:
                out.append(event)
            elif data != DONE:
                try:
                    self._take(_decode(data), out)
                except MISSHAPEN as error:
                    raise StreamCut(f"the upstream sent an event that cannot be translated: {error!r}") from error
        return b"".join(out)

    def end(self) -> bytes:
        """What closes the stream, once its end has arrived and the call is in the books."""
        raise NotImplementedError

    def _take(self, event: Json, out: list[bytes]) -> None:
        raise NotImplementedError
