"""Answering one admitted request, well or badly, and billing what was generated.

What is billed is what a provider knows: the prompt once it was processed, and the output generated up to the end or up
to the moment at which the caller's leaving was noticed, whether or not it ever arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from breakeven.cloudsim import dialect
from breakeven.cloudsim.dialect import Dialect, Served
from breakeven.cloudsim.faults import Fault
from breakeven.cloudsim.http import Gone, HeaderList, Request

JSON = ("content-type", "application/json")
EVENT_STREAM = ("content-type", "text/event-stream; charset=utf-8")
HTML = ("content-type", "text/html")
_NONE = Fault("none")


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a model takes: seconds to the first token, then tokens a second; 0 a second means at once."""

    first_token_seconds: float = 0.0
    tokens_per_second: float = 0.0

    def generation(self, tokens: int) -> float:
        """Seconds to generate so many tokens."""
        return tokens / self.tokens_per_second if self.tokens_per_second else 0.0


class Meter:
    """Counts what one request generates and bills it once."""

    def __init__(self, bill: Callable[[int, bool], None]) -> None:
        self._bill = bill
        self._billed = False
        self.output = 0

    def close(self, *, complete: bool) -> None:
        """Bill; later calls do nothing."""
        if not self._billed:
            self._billed = True
            self._bill(self.output, complete)


async def serve(
    request: Request,
    speaks: Dialect,
    served: Served,
    headers: HeaderList,
    meter: Meter,
    latency: Latency,
    fault: Fault | None,
) -> None:
    """Answer, and bill whatever happens.

    Raises:
        Gone: when the caller left.
    """
    met = fault or _NONE
    try:
        await request.pause(latency.first_token_seconds)
        if met.kind == "cut" and met.events == 0:
            request.cut()
        elif served.order.stream:
            await _stream(request, speaks, served, headers, meter, latency, met)
        else:
            await _whole(request, speaks, served, headers, meter, latency, met)
    finally:
        meter.close(complete=False)


async def _whole(
    request: Request,
    speaks: Dialect,
    served: Served,
    headers: HeaderList,
    meter: Meter,
    latency: Latency,
    fault: Fault,
) -> None:
    begun = asyncio.get_running_loop().time()
    try:
        await request.pause(latency.generation(served.output_tokens))
    except Gone:
        passed = asyncio.get_running_loop().time() - begun
        meter.output = min(served.output_tokens, int(passed * latency.tokens_per_second))
        raise
    meter.output = served.output_tokens
    meter.close(complete=fault.kind not in ("truncated", "cut", "stall"))
    body = dialect.encode(speaks.whole(served))
    if fault.kind == "cut":
        request.cut()
    elif fault.kind == "stall":
        await request.until_gone()
    elif fault.kind == "truncated":
        await request.answer(200, body[: len(body) // 2], [JSON, *headers], promise=len(body))
    else:
        await request.answer(200, body, [HTML if fault.kind == "content-type" else JSON, *headers])


async def _stream(
    request: Request,
    speaks: Dialect,
    served: Served,
    headers: HeaderList,
    meter: Meter,
    latency: Latency,
    fault: Fault,
) -> None:
    await request.begin(200, [HTML if fault.kind == "content-type" else EVENT_STREAM, *headers])
    for index, event in enumerate(speaks.events(served)):
        if index == fault.events and fault.kind in ("cut", "truncated", "stall", "error-event", "malformed"):
            if fault.kind == "stall":
                await request.until_gone()
                raise Gone
            if fault.kind == "error-event":
                await request.write(speaks.error_event())
                break
            if fault.kind != "malformed":
                request.cut()
                return
            await request.write(speaks.malformed)
        await request.pause(latency.generation(event.tokens))
        meter.output += event.tokens
        await request.write(event.data)
        await asyncio.sleep(0)
    meter.close(complete=fault.kind != "error-event")
    await request.end()
