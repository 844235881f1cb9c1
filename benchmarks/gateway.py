"""What a call costs on its way through the gateway, ledger on, against nginx as the floor.

Both stand in front of the same mock upstream; runs are interleaved. CPU is user plus system time of the gateway
process (the ledger's writer thread included) per request. Streams that come chunk by chunk, as from a model, are
measured apart: CPU a stream, and how much later the first token arrives than from the upstream itself.

    python benchmarks/gateway.py --requests 4000
    python benchmarks/gateway.py --quick
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from load import cpu_seconds, drive, request_bytes, resident_bytes
from processes import free_port, mock_upstream, running, wait_for

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
PLAIN = """
[providers.mock]
base_url = "http://127.0.0.1:{upstream}/v1"
[models.mock]
provider = "mock"
model = "mock"
[models.paced]
provider = "mock"
model = "mock-paced"
[box]
purchase_usd = 3600
idle_watts = 10
load_watts = 130
"""
FULL = """
[providers.house]
base_url = "http://127.0.0.1:{upstream}/v1"
[providers.cloud]
base_url = "http://127.0.0.1:{upstream}/v1"
locality = "remote"
catalog = "cloud"
[models.local]
provider = "house"
model = "mock"
[models.cloud]
provider = "cloud"
model = "mock"
[models.local-paced]
provider = "house"
model = "mock-paced"
[models.cloud-paced]
provider = "cloud"
model = "mock-paced"
[policy]
default_data = "shareable"
[tasks.tag]
models = ["cloud", "local"]
stream = "pass"
[tasks.paced]
models = ["cloud-paced", "local-paced"]
stream = "pass"
[keys.bench]
secret = "env:BENCH_KEY"
[budgets.all]
usd = 1000000
[budgets.tags]
usd = 1000000
task = "tag"
per = "month"
[prices."cloud/mock"]
input = 2
output = 10
source = "benchmark"
effective = "2026-01-01"
[prices."cloud/mock-paced"]
input = 2
output = 10
source = "benchmark"
effective = "2026-01-01"
[box]
purchase_usd = 3600
idle_watts = 10
load_watts = 130
"""
"""Everything at once, in force for each call: a key, a task with two candidates and gates, two budgets, a price."""
KEY = "bk_benchmark_0123456789"
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Subject:
    """A program under measurement, and its names for the upstream's two models."""

    name: str
    pid: int
    port: int
    model: str
    paced: str
    cold_seconds: float


@contextmanager
def nginx(upstream: int) -> Iterator[Subject | None]:
    """The floor; skipped where nginx is not installed."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        print("nginx is not installed: the floor is left out", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        with running([binary, "-c", str(file), "-e", f"{folder}/start.log"]) as child:
            yield Subject("nginx", child.pid, port, "mock", "mock-paced", wait_for(port))


@contextmanager
def breakeven(upstream: int, name: str, configuration: str, model: str, paced: str) -> Iterator[Subject]:
    """The gateway as ``breakeven serve`` starts it."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder) / "breakeven.toml"
        file.write_text(configuration.format(upstream=upstream))
        command = [sys.executable, "-m", "breakeven", "serve", "--port", str(port), "--config", str(file), "--json"]
        with running(command, {"BREAKEVEN_HOME": folder, "PYTHONDONTWRITEBYTECODE": "", "BENCH_KEY": KEY}) as child:
            cold = wait_for_answer(port)
            yield Subject(name, child.pid, port, model, paced, cold)


def wait_for_answer(port: int) -> float:
    """Seconds until the first call is answered."""
    import http.client
    import time

    started = time.perf_counter()
    wait_for(port)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/ready")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - started


def measure(subject: Subject, *, stream: bool, concurrency: int, requests: int) -> tuple[float, ...]:
    """CPU µs a request, requests a second, p50 and p99 latency and p50 first byte in ms."""
    request = request_bytes(PATH, stream=stream, model=subject.model, key=KEY)
    drive(subject.port, request, concurrency=concurrency, requests=max(100, requests // 10))
    before = cpu_seconds(subject.pid)
    result = drive(subject.port, request, concurrency=concurrency, requests=requests)
    cpu = (cpu_seconds(subject.pid) - before) / result.requests * 1e6
    if result.failures:
        raise SystemExit(f"{subject.name}: {result.failures} of {result.requests} calls failed")
    first_byte = result.first_byte_percentile(0.5)
    return cpu, result.per_second, result.percentile(0.5) * 1e3, result.percentile(0.99) * 1e3, first_byte * 1e3


def measure_paced(subject: Subject, upstream: int, *, concurrency: int, streams: int) -> tuple[float, ...]:
    """CPU µs a stream of 32 chunks, the p50 of its first token and of the upstream's own, taken next to it, in ms."""
    own = drive(
        upstream, request_bytes(PATH, stream=True, model="mock-paced"), concurrency=concurrency, requests=streams
    )
    request = request_bytes(PATH, stream=True, model=subject.paced, key=KEY)
    drive(subject.port, request, concurrency=concurrency, requests=concurrency)
    before = cpu_seconds(subject.pid)
    result = drive(subject.port, request, concurrency=concurrency, requests=streams)
    cpu = (cpu_seconds(subject.pid) - before) / result.requests * 1e6
    if result.failures or own.failures:
        raise SystemExit(f"{subject.name}: {result.failures} of {result.requests} streams failed")
    return cpu, result.first_byte_percentile(0.5) * 1e3, own.first_byte_percentile(0.5) * 1e3


def show_paced(figures: dict[tuple[str, int], list[tuple[float, ...]]]) -> None:
    """The second table; what is added is the median of the differences, each of two runs next to each other."""
    print(f"\n{'streams of 32 chunks':30} {'c':>3} {'CPU µs':>8} {'1st token ms':>13} {'added ms':>9}")
    for (name, concurrency), rows in figures.items():
        cpu, first, _ = (statistics.median(column) for column in zip(*rows, strict=True))
        added = statistics.median(through - direct for _, through, direct in rows)
        print(f"{name:30} {concurrency:3} {cpu:8.0f} {first:13.2f} {added:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000, help="requests a run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians are printed")
    parser.add_argument("--streams", type=int, default=200, help="paced streams a run")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.rounds, options.streams = 300, 1, 32
    with ExitStack() as stack:
        upstream = stack.enter_context(mock_upstream())
        floor = stack.enter_context(nginx(upstream))
        subjects = [
            *([floor] if floor else []),
            stack.enter_context(breakeven(upstream, "breakeven, one model by name", PLAIN, "mock", "paced")),
            stack.enter_context(breakeven(upstream, "breakeven, key, task, budgets", FULL, "task:tag", "task:paced")),
        ]
        figures: dict[tuple[str, bool, int], list[tuple[float, ...]]] = {}
        paced: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for _ in range(options.rounds):
            for stream in (False, True):
                for concurrency in (1, 16, 64):
                    for subject in subjects:
                        row = measure(subject, stream=stream, concurrency=concurrency, requests=options.requests)
                        figures.setdefault((subject.name, stream, concurrency), []).append(row)
            for concurrency in (1, 16):
                for subject in subjects:
                    row = measure_paced(subject, upstream, concurrency=concurrency, streams=options.streams)
                    paced.setdefault((subject.name, concurrency), []).append(row)
        headings = f"{'CPU µs':>8} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'1st byte':>9}"
        print(f"{'program':30} {'answer':7} {'c':>3} {headings}")
        for (name, stream, concurrency), rows in figures.items():
            cpu, rate, p50, p99, first = (statistics.median(column) for column in zip(*rows, strict=True))
            answer = "stream" if stream else "plain"
            print(f"{name:30} {answer:7} {concurrency:3} {cpu:8.0f} {rate:8.0f} {p50:8.2f} {p99:8.2f} {first:9.2f}")
        show_paced(paced)
        for subject in subjects:
            megabytes = resident_bytes(subject.pid) / 1e6
            print(f"{subject.name}: RSS {megabytes:.0f} MB, cold start {subject.cold_seconds:.2f} s")


if __name__ == "__main__":
    main()
