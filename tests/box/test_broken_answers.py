"""An engine that breaks off before its first word, or gets stuck, loses no call: scripted engines on real sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager

import pytest

from breakeven.box.backend import Abilities, SlotAccess
from breakeven.box.dispatcher import Dispatcher
from breakeven.box.engine_provider import EngineTimeouts
from breakeven.box.llama_slots import Moved
from breakeven.box.pool import EngineFacts
from breakeven.errors import EngineUnavailable, StreamCut
from breakeven.providers.base import ProviderRequest, Reply
from breakeven.providers.http import HttpProvider

BODY = json.dumps({"messages": [{"role": "user", "content": "Speak."}], "stream": True}).encode()
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n"


def event(delta: str, more: str = "") -> bytes:
    data = f'data: {{"choices":[{{"index":0,"delta":{delta}}}]{more}}}\n\n'.encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


OPENING = event('{"role":"assistant","content":null}')
PROGRESS = event('{"role":"assistant","content":null}', ',"prompt_progress":{"total":9,"processed":3}')
WORD = event('{"content":"word"}')
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
GOOD = STREAM + PROGRESS + OPENING + WORD + END
TIMINGS = ',"timings":{"cache_n":0,"prompt_n":900,"prompt_ms":90,"predicted_n":50,"predicted_ms":50}'
MEASURED = STREAM + OPENING + WORD + event("{}", TIMINGS) + END
STUCK = "stuck"


class ScriptedEngine:
    """Answers each call with the next piece of its script, whole or not, and hangs up.

    Where its script says so it begins, and then says nothing until it is loaded anew; its slot is busy so long.
    """

    abilities = Abilities(tells_progress=True)

    def __init__(self, name: str, *script: bytes | str) -> None:
        self.name = name
        self.calls = 0
        self.reloads: list[str] = []
        self.slots: SlotAccess | None = self
        self._reloaded = asyncio.Event()
        self._stuck = False
        self._script = script
        self._port = 0
        self._provider = HttpProvider(
            name, base_url=lambda: f"http://127.0.0.1:{self._port}/v1", locality="local", timeouts=EngineTimeouts()
        )

    async def check(self) -> EngineFacts | None:
        if not self._port:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self._port = self._server.sockets[0].getsockname()[1]
        return EngineFacts(self.name, 1, batch_tokens=100)

    async def changed(self) -> None:
        await asyncio.Event().wait()

    def gone(self) -> bool:
        return False

    def trouble(self) -> EngineUnavailable:
        return EngineUnavailable(self.name)

    async def save(self, slot: int, file: str) -> Moved:
        raise NotImplementedError

    async def restore(self, slot: int, file: str) -> Moved:
        raise NotImplementedError

    async def busy(self) -> frozenset[int]:
        return frozenset({0} if self._stuck else ())

    async def reload(self, reason: str) -> bool:
        self.reloads.append(reason)
        self._stuck = False
        self._reloaded.set()
        return True

    def send(self, request: ProviderRequest) -> AbstractAsyncContextManager[Reply]:
        return self._provider.send(request)

    async def close(self) -> None:
        await self._provider.close()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY[-8:])
        answer = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        if isinstance(answer, str):
            self._stuck = True
            writer.write(STREAM + PROGRESS)
            await self._reloaded.wait()
        else:
            writer.write(answer)
        writer.close()
        await writer.wait_closed()


def answer_of(*engines: ScriptedEngine) -> bytes:
    async def act() -> bytes:
        dispatcher = Dispatcher("the box", engines, load_seconds=10)
        try:
            async with asyncio.timeout(20), dispatcher.send(ProviderRequest("/chat/completions", BODY)) as reply:
                assert reply.status == 200
                return b"".join([chunk async for chunk in reply.chunks()])
        finally:
            await dispatcher.close()

    return asyncio.run(act())


@pytest.mark.parametrize(
    "broken",
    [b"", STREAM, STREAM + PROGRESS, STREAM + PROGRESS + OPENING, STREAM + OPENING[:40], PLAIN, PLAIN + b'{"half":'],
    ids=["nothing", "head", "progress", "opening", "half an event", "plain head", "half a plain answer"],
)
def test_a_call_whose_answer_breaks_off_before_its_first_word_goes_to_another_engine(broken: bytes) -> None:
    breaks, answers = ScriptedEngine("breaks", broken), ScriptedEngine("works", GOOD)
    answer = answer_of(breaks, answers)
    assert answer.count(b'"content":"word"') == 1
    assert answer.count(b'"role"') == 1
    assert (breaks.calls, answers.calls) == (1, 1)


def test_it_goes_to_the_same_engine_again_when_there_is_no_other() -> None:
    only = ScriptedEngine("only", STREAM, GOOD)
    assert b'"content":"word"' in answer_of(only)
    assert only.calls == 2


def test_it_is_not_sent_for_ever() -> None:
    engines = ScriptedEngine("one", STREAM), ScriptedEngine("two", STREAM)
    with pytest.raises(StreamCut, match="broke off its answer") as caught:
        answer_of(*engines)
    assert caught.value.retryable
    assert sum(engine.calls for engine in engines) == 3


def test_after_the_first_word_its_end_is_the_callers_to_hear_of() -> None:
    breaks, other = ScriptedEngine("breaks", STREAM + OPENING + WORD), ScriptedEngine("works", GOOD)
    with pytest.raises(StreamCut, match="broke off its answer"):
        answer_of(breaks, other)
    assert (breaks.calls, other.calls) == (1, 0)


def test_a_stream_that_ends_without_a_word_was_no_answer() -> None:
    silent, answers = ScriptedEngine("silent", STREAM + b"0\r\n\r\n"), ScriptedEngine("works", GOOD)
    assert b'"content":"word"' in answer_of(silent, answers)


def test_a_slot_that_says_nothing_for_many_times_as_long_as_usual_loses_no_call_and_its_engine_is_loaded_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine("engine", MEASURED, STUCK, GOOD)

    async def act() -> bytes:
        dispatcher = Dispatcher("the box", [engine], load_seconds=10, shortest_silence=1.0)
        answer = b""
        try:
            for _ in range(2):
                async with asyncio.timeout(20), dispatcher.send(ProviderRequest("/chat/completions", BODY)) as reply:
                    answer = b"".join([chunk async for chunk in reply.chunks()])
        finally:
            await dispatcher.close()
        return answer

    assert b'"content":"word"' in asyncio.run(act())
    assert engine.calls == 3
    assert len(engine.reloads) == 1
    assert "slot 0 of engine is at work" in engine.reloads[0]
    assert "nothing arrived for 1 s" in caplog.text
    assert "its call goes back to the queue" in caplog.text
