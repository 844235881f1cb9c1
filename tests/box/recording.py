"""What the books of a pool were told and what they decided: recorded from a fleet on the real engine, and replayed.

python -m tests.box.recording tests/box/fleet_run.json
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from tests.box.test_dispatcher import ask, request

from breakeven.box.dispatcher import Dispatcher
from breakeven.box.engine import Engine
from breakeven.box.engine_provider import EngineBackend
from breakeven.box.kv_files import KvFiles
from breakeven.box.models import resolve
from breakeven.box.pool import EngineFacts, Measured, Pool
from breakeven.box.pool_state import Call, Copy
from breakeven.box.scheduler import Rules
from breakeven.config import EngineSettings

FILE_BUDGET = 30_000_000
Event: TypeAlias = tuple[str, list[Any], Any]
"""A method of the books, its arguments, and what it answered when that was a decision."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "engine_up": (EngineFacts,),
    "engine_down": (str,),
    "arrive": (Call, float),
    "leave": (int,),
    "decide": (float,),
    "finish": (int, float, Measured | None),
    "hold": (str, int, int),
    "slot_free": (str, int, int),
    "emptied": (str, int, int),
    "saved": (Copy,),
    "lost": (Copy,),
}


class Recorder:
    """Remembers what the books of a pool are told from outside."""

    def __init__(self, pool: Pool) -> None:
        self.events: list[Event] = []
        self._inside = False
        for name in ARGUMENTS:
            setattr(pool, name, self._recorded(name, getattr(pool, name)))

    def _recorded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self._inside:
                return method(*arguments)
            self._inside = True
            try:
                answer = method(*arguments)
            finally:
                self._inside = False
            decided = msgspec.to_builtins(answer) if name == "decide" else None
            self.events.append((name, msgspec.to_builtins(arguments), decided))
            return answer

        return call


def replay(events: list[Event]) -> list[tuple[Any, Any]]:
    """What was decided then and what is decided now, for each decision."""
    pool = Pool(Rules(), file_budget=FILE_BUDGET)
    compared = []
    for name, arguments, decided in events:
        typed = [msgspec.convert(value, kind) for value, kind in zip(arguments, ARGUMENTS[name], strict=True)]
        answer = getattr(pool, name)(*typed)
        if name == "decide":
            compared.append((decided, msgspec.json.decode(msgspec.json.encode(answer))))
    return compared


async def record(path: Path) -> None:
    """Three agents wake twice, three steps each, on one slot of the demo model without a cache of its own."""
    model = resolve("demo", Path(tempfile.gettempdir()) / "breakeven-test-models")
    with tempfile.TemporaryDirectory() as home:
        files = KvFiles(Path(home) / "kv")
        settings = EngineSettings(context=1024, slots=1, cache_ram_mib=0, threads=1)
        engine = Engine(settings, model, Path(home), kv_files=files)
        box = Dispatcher("the box", [EngineBackend(engine)], load_seconds=30, files=files, file_budget=FILE_BUDGET)
        recorder = Recorder(box.pool)
        await engine.start()

        async def chain(agent: str) -> None:
            for step in range(3):
                await ask(box, request(agent, f"Step {step}.", chain=agent, words=130))

        for _ in range(2):
            await asyncio.gather(*(chain(agent) for agent in "abc"))
            await asyncio.sleep(11)
        await box.close()
        await engine.stop()
    lines = [msgspec.json.encode(event).decode() for event in recorder.events]
    await asyncio.to_thread(path.write_text, "[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1])))
