"""A whole gateway on a real socket, in a thread of its own, with its books in a temporary folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.fakes import cloud, upstream

from breakeven import config
from breakeven.box.engine import Engine
from breakeven.gateway.app import Gateway
from breakeven.gateway.assembly import assemble
from breakeven.gateway.desk import Inbox
from breakeven.gateway.server import GatewayServer, bind, new_event_loop
from breakeven.ledger.ledger import Ledger
from breakeven.ledger.records import Call
from breakeven.ledger.store import Store

END_OF_TIME = 4e9
PATIENCE_SECONDS = 60.0

MODELS = [
    "ok", "ok-json", "cut", "ends-early", "error-inside", "malformed", "endless", "gated", "no-usage", "hang-up",
    "rate-limited", "overloaded", "broken", "unauthorized", "bad-parameter", "too-long", "no-embeddings",
]  # fmt: skip


@dataclass
class RunningGateway:
    """A gateway under test."""

    url: str
    ledger: Ledger
    home: Path
    engine: Engine | None = None
    lay_desk: Callable[[config.Settings], Any] | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def reload(self, document: dict[str, Any]) -> None:
        """Take on another configuration, as when its file changes."""
        assert self.lay_desk is not None
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self.lay_desk(config.parse(document)), self.loop).result(30)

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_SECONDS)

    def calls(self) -> list[Call]:
        """All calls in the ledger, oldest first."""
        assert self.ledger.flush(10)
        return booked_calls(self.home)


def booked_calls(home: Path) -> list[Call]:
    """All calls in the database of this home, oldest first."""
    store = Store.open(config.LedgerSettings(), home)
    try:
        return list(store.calls(0, END_OF_TIME))
    finally:
        store.close()


@contextmanager
def run_gateway(
    document: dict[str, Any], home: Path, environment: dict[str, str] | None = None, *, inbox: Inbox | None = None
) -> Iterator[RunningGateway]:
    """Serve with this configuration until left."""
    settings = config.parse(document)
    started: threading.Event = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        listener = bind("127.0.0.1", 0)
        with listener:
            async with assemble(settings, home, environment or {}, inbox=inbox) as assembly:
                state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
                state["ledger"], state["engine"] = assembly.desk.ledger, assembly.engine
                state["lay_desk"] = assembly.lay_desk
                state["port"] = listener.getsockname()[1]
                server = GatewayServer(Gateway(lambda: assembly.desk), 1)
                serving = asyncio.ensure_future(server.serve(sockets=[listener]))
                if assembly.engine_start is not None:
                    await assembly.engine_start
                started.set()
                await state["stop"].wait()
                server.should_exit = True
                await serving

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            state["error"] = error
            started.set()
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(90)
    if "error" in state:
        thread.join(10)
        raise state["error"]
    try:
        url = f"http://127.0.0.1:{state['port']}"
        yield RunningGateway(url, state["ledger"], home, state["engine"], state["lay_desk"], state["loop"])
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), f"the gateway was told to stop and still runs after {PATIENCE_SECONDS:.0f} s"


@pytest.fixture
def fake() -> Iterator[upstream.Upstream]:
    with upstream.running() as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RunningGateway]]:
    """Start gateways that stop with the test."""
    with ExitStack() as stack:

        def start(document: dict[str, Any], environment: dict[str, str] | None = None) -> RunningGateway:
            return stack.enter_context(run_gateway(document, tmp_path, environment))

        yield start


def remote(fake: upstream.Upstream, **more: Any) -> dict[str, Any]:
    """Configuration with the fake as a priced cloud provider, and as a server of the house for ``local-*`` names."""
    return {
        "policy": {"default_data": "shareable", "retries": 0},
        "providers": {
            "cloud": {"base_url": fake.url, "locality": "remote", "catalog": "anthropic", **more},
            "house": {"base_url": fake.url},
        },
        "models": {
            **{name: {"provider": "cloud", "model": name} for name in MODELS},
            **{f"local-{name}": {"provider": "house", "model": name} for name in MODELS},
        },
        "prices": {
            "anthropic/ok-served": {
                "input": "2",
                "output": "10",
                "cache_read": "0.1",
                "source": "test",
                "effective": "2026-01-01",
            }
        },
        "box": {"purchase_usd": "3600", "idle_watts": "10", "load_watts": "110", "usd_per_kwh": "0.2"},
    }


@pytest.fixture
def sky() -> Iterator[cloud.SimulatedCloud]:
    """The simulated cloud."""
    with cloud.running() as running:
        yield running
