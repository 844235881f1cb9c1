"""Make the table and fill the queues of the 31 agents; doing so again changes nothing."""

import json
import sys
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from breakeven import config
from breakeven.agents import database, queue

DATA = Path(__file__).parent / "data"
FILES = {"inbox.jsonl": "desk", "invoices.jsonl": "supplier", "logs.jsonl": "service", "news.jsonl": "topic"}


def prepare(url: str | None, home: Path, most: int | None = None) -> int:
    """Put in up to ``most`` items of each file. How many were new."""
    added = 0
    with database.opened(url, home) as engine, engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS desk (agent TEXT, item TEXT, label TEXT, text TEXT)"))
        for name, owner in FILES.items():
            lines = (DATA / name).read_text(encoding="utf-8").splitlines()
            for document in map(json.loads, islice(lines, most)):
                added += queue.enqueue(connection, document[owner], [queue.New(document, document["id"])])
    return added


if __name__ == "__main__":
    settings = config.load(config.find_file())
    sys.stdout.write(f"{prepare(settings.agents.url, settings.home or config.default_home())} items added\n")
