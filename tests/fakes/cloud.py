"""The simulated cloud for tests: in a thread, where its clock can be set, or as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from breakeven.cloudsim.cloud import Cloud
from breakeven.cloudsim.invoice import PriceList
from breakeven.cloudsim.serving import Latency
from breakeven.cloudsim.state import UNLIMITED, Terms
from breakeven.economics.limits import AccountLimits
from tests.fakes import child

GPT, MINI, CLAUDE, HAIKU, EMBEDDER = "gpt-sim", "gpt-sim-mini", "claude-sim", "claude-sim-haiku", "embed-sim"
PRICES = {
    GPT: PriceList.simple("1.25", "10"),
    MINI: PriceList.simple("0.15", "0.6"),
    CLAUDE: PriceList.simple("3", "15"),
    HAIKU: PriceList.simple("0.8", "4"),
    EMBEDDER: PriceList.simple("0.02", "0"),
}


@dataclass
class SimulatedCloud:
    """A running simulated cloud, seen from outside."""

    url: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, document: Any = None, method: str = "POST") -> Any:
        body = json.dumps(document or {}).encode()
        asked = urllib.request.Request(f"{self.url}{path}", body, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def invoice(self) -> Any:
        """The invoice, once everything under way has ended."""
        self.get("/_sim/idle")
        return self.get("/_sim/invoice")

    def seen(self) -> Any:
        return self.get("/_sim/requests")

    def order(self, *faults: str | None) -> None:
        """Let the next requests meet these faults."""
        self.post("/_sim/faults", {"queue": list(faults)})

    def plan(self, seed: int, **probabilities: float) -> None:
        """Let all requests meet faults by chance."""
        self.post("/_sim/faults", {"probabilities": probabilities, "seed": seed})


@contextmanager
def running(
    prices: dict[str, PriceList] | None = None,
    limits: AccountLimits = UNLIMITED,
    latency: Latency | None = None,
    clock: Callable[[], float] | None = None,
) -> Iterator[SimulatedCloud]:
    """A simulated cloud in a thread of its own."""
    terms = Terms(prices or PRICES, limits, latency or Latency())
    ready = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        cloud = Cloud(terms) if clock is None else Cloud(terms, clock)
        await cloud.server.listen("127.0.0.1", 0)
        state["loop"], state["stop"], state["port"] = asyncio.get_running_loop(), asyncio.Event(), cloud.server.port
        ready.set()
        await state["stop"].wait()
        await cloud.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield SimulatedCloud(f"http://127.0.0.1:{state['port']}")
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(10)


@contextmanager
def process(*flags: str) -> Iterator[SimulatedCloud]:
    """``breakeven simulate-cloud`` as its users run it."""
    command = [sys.executable, "-m", "breakeven", "simulate-cloud", "--port", "0", "--json", *flags]
    with child.running(command, stdout=subprocess.PIPE) as simulation:
        yield SimulatedCloud(json.loads(child.line_of(simulation, simulation.stdout))["url"])
        simulation.terminate()
        simulation.wait(30)
