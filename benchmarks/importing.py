"""Import a million requests of a synthetic Claude Code tree, import it again, and read a month's statement over them.

    python benchmarks/importing.py [--count 1000000] [--source claude-code|litellm]

Each measurement runs in a process of its own through the command line, as a user's would: start of the program, the
price book, reading, pricing and writing included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from breakeven.config import LedgerSettings
from breakeven.ledger.imported import summarise
from breakeven.ledger.statement import Month
from breakeven.ledger.store import Store

START = datetime(2026, 11, 1, tzinfo=UTC)
MONTH = timedelta(days=29, hours=23)
PER_SESSION = 1000
STATES = 3
"""Every third answer is written a second time while it streams, with part of its output."""
FILLER = "x" * 400


def claude_lines(first: int, count: int, total: int) -> Iterator[str]:
    session = f"session-{first:08}"
    for number in range(first, first + count):
        at = (START + MONTH * number / total).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        output = 40 + number * 7 % 900
        usage = {
            "input_tokens": 4 + number % 50,
            "cache_creation_input_tokens": 300 + number % 2000,
            "cache_read_input_tokens": 20_000 + number % 90_000,
            "output_tokens": output,
            "cache_creation": {"ephemeral_5m_input_tokens": 300 + number % 2000, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        }
        answer = {
            "parentUuid": f"p{number}",
            "isSidechain": False,
            "cwd": f"/home/ann/project-{first % 7}",
            "sessionId": session,
            "type": "assistant",
            "timestamp": at,
            "requestId": f"req_{number:024}",
            "message": {
                "id": f"msg_01{number * 2654435761 % 2**32:08x}{number:016}",
                "model": ("claude-sonnet-4-5", "claude-opus-4-6", "claude-haiku-4-5")[number % 3],
                "content": [{"type": "text", "text": FILLER}],
                "usage": usage,
            },
        }
        yield json.dumps({"type": "user", "sessionId": session, "timestamp": at, "message": {"content": "go on"}})
        if number % STATES == 0:
            answer["message"]["usage"] = usage | {"output_tokens": 3}
            yield json.dumps(answer)
            answer["message"]["usage"] = usage
        yield json.dumps(answer)


def litellm_lines(first: int, count: int, total: int) -> Iterator[str]:
    for number in range(first, first + count):
        at = START + MONTH * number / total
        prompt, output, cached = 1000 + number % 9000, 40 + number * 7 % 900, number % 1000
        yield json.dumps(
            {
                "request_id": f"chatcmpl-{number * 2654435761 % 2**32:08x}{number:016}",
                "call_type": "acompletion",
                "spend": prompt * 1e-6,
                "prompt_tokens": prompt,
                "completion_tokens": output,
                "startTime": at.isoformat(),
                "endTime": (at + timedelta(seconds=3)).isoformat(),
                "model": ("gpt-5", "gpt-5-mini", "gpt-5.5")[number % 3],
                "custom_llm_provider": "openai",
                "metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": cached}}},
                "cache_hit": "False",
            }
        )


def write_tree(folder: Path, source: str, count: int) -> int:
    lines = claude_lines if source == "claude-code" else litellm_lines
    size = 0
    for first in range(0, count, PER_SESSION):
        file = folder / "projects" / f"project-{first // PER_SESSION % 7}" / f"{first:08}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines(first, min(PER_SESSION, count - first), count)))
        size += file.stat().st_size
    return size


class Measured:
    """A run of the command: its answer, seconds, CPU seconds and peak memory."""

    def __init__(self, home: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "breakeven", *arguments, "--json"]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=os.environ | {"BREAKEVEN_HOME": str(home)}, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.answer = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.returncode
        self.seconds = time.perf_counter() - start
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)

    def line(self, what: str, count: int) -> str:
        each = self.cpu / count * 1e6
        return (
            f"{what:<28}{self.seconds:8.1f} s  CPU {self.cpu:7.1f} s ({each:.0f} us each)  peak {self.peak_mb:.0f} MB"
        )


def computing(home: Path) -> float:
    """Seconds for the month's totals, provenance, buckets and their summary."""
    store, month, times = Store.open(LedgerSettings(), home), Month(2026, 11), []
    for _ in range(5):
        start = time.perf_counter()
        totals, _ = store.daily(month.since, month.until, imported=True)
        origins = {total.origin for total in totals}
        sources = {origin: store.daily(month.since, month.until, origin=origin)[1] for origin in origins}
        summarise(totals, sources, store.buckets(*month.seconds))
        times.append(time.perf_counter() - start)
    store.close()
    return sorted(times)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--source", choices=["claude-code", "litellm"], default="claude-code")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, home = Path(folder) / "logs", Path(folder) / "home"
        size = write_tree(tree, options.source, options.count)
        print(f"{options.count:,} requests of {options.source}, {size / 1e6:,.0f} MB of logs")
        billed = ("--billed", "api") if options.source == "claude-code" else ()
        first = Measured(home, "import", str(tree), *billed)
        assert sum(source["new_calls"] for source in first.answer["sources"]) == options.count
        print(first.line("first import", options.count))
        second = Measured(home, "import", str(tree), *billed)
        assert sum(source["new_calls"] for source in second.answer["sources"]) == 0
        print(second.line("second import, nothing new", options.count))
        month = [Measured(home, "statement", "--month", "2026-11") for _ in range(3)]
        assert month[0].answer["imported"][0]["usage"]["calls"] == options.count
        best = sorted(month, key=lambda run: run.seconds)[1]
        print(f"{'statement of the month':<28}{best.seconds:8.2f} s  start of the program included, median of 3")
        print(f"{'  reading and computing it':<28}{computing(home) * 1000:8.1f} ms  median of 5")
        database = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
        print(f"{'ledger on disk':<28}{database / 1e6:8,.0f} MB")


if __name__ == "__main__":
    main()
