"""Calls with an ``Idempotency-Key``: answered once, and the same answer for whoever asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from breakeven.accounts.answers import Answer, fingerprint
from breakeven.errors import DeadlineExceeded
from breakeven.gateway.asgi import Message, Receive, Send
from breakeven.gateway.call import PlannedCall, Visit, within
from breakeven.gateway.desk import Desk
from breakeven.gateway.recorder import LastHeld, Recorder, replay

KEY_HEADERS = (b"idempotency-key", b"x-breakeven-idempotency-key")


async def answer_once(
    desk: Desk, visit: Visit, body: bytes, call: Callable[[Send], PlannedCall], receive: Receive, send: Send
) -> None:
    """Serve a call, or give the answer it had before.

    A call with a key goes on when its caller leaves, and its answer is kept before its last byte goes out: whoever
    sends the key again finds the answer, and nobody pays for it twice.

    Raises:
        BreakevenError: as ``PlannedCall.serve``, and when the key is unfit or names another request.
    """
    key = next((value for name in KEY_HEADERS if (value := visit.headers.get(name)) is not None), None)
    if key is None:
        await call(send).serve(receive)
        return
    scope = f"{visit.caller.name or ''} {visit.door.path}"
    deadline = visit.labels.deadline_seconds
    try:
        async with within(deadline):
            begun = await desk.accounts.idempotency.begin(scope, key.decode("latin-1"), fingerprint(body))
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the call under this Idempotency-Key was still in flight at the deadline of {deadline:g} s",
            remedy="Allow more time; the answer is kept for whoever sends the key again.",
        ) from error
    if isinstance(begun, Answer):
        await replay(send, begun)
        return
    held = LastHeld(send)
    recorder = Recorder(held)
    serving: PlannedCall | None = None
    try:
        serving = call(recorder)
        await serving.serve(_never)
    finally:
        if serving is not None and serving.completed:
            await begun.finish(recorder.answer())
        else:
            await begun.abandon()
        await held.let_go()


async def _never() -> Message:
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never
