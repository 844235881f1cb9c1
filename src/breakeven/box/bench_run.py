"""A measurement from start to end: the bench against a target, with the meter and the conditions it ran under."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import msgspec

from breakeven import __version__
from breakeven.box.bench import Bench, Step, bench_plan
from breakeven.box.bench_client import BenchClient
from breakeven.box.bench_target import Target
from breakeven.box.host import describe_host
from breakeven.box.power import choose_meter
from breakeven.box.pressure import CpuQueue, PressureWatch
from breakeven.catalog.measurements import Conditions, Measurement
from breakeven.config import BoxSettings


async def take_measurement(
    target: Target,
    box: BoxSettings,
    *,
    quick: bool = False,
    most_parallel: int | None = None,
    shape: str | None = None,
    step: Step = lambda _doing, _share: None,
) -> Measurement:
    """Measure; nothing is written.

    Args:
        most_parallel: answers at once; by default as many as the server has slots.
        shape: the catalogue's row of the model, over what was recognised.

    Raises:
        UpstreamError: the server stopped answering.
        ConfigError: ``box.power_meter`` names a meter this machine does not have.
    """
    slots = most_parallel or target.most_parallel
    plan = bench_plan(quick=quick, context=target.used.context, most_parallel=slots)
    watch = PressureWatch()
    client = BenchClient(target.root, target.dialect, key=target.key)
    meter = choose_meter(box.power_meter).meter
    cpu_queue = None if target.pid is None else CpuQueue(target.pid)
    bench = Bench(client, plan, seed=secrets.randbits(64), meter=meter, cpu_queue=cpu_queue, step=step)
    try:
        result = await bench.run()
    finally:
        await client.close()
    shares = watch.shares()
    return Measurement(
        host=describe_host(),
        machine=box.machine,
        model=target.model,
        shape=shape or target.shape,
        engine=msgspec.structs.replace(
            target.used, slots=target.used.slots or max(1, *(p.parallel for p in result.decode))
        ),
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        program=__version__,
        timed_by=result.timed_by,
        prefill=tuple(result.prefill),
        decode=tuple(result.decode),
        overhead_seconds=round(result.overhead_seconds, 6),
        conditions=Conditions(
            _rounded(shares.cpu), _rounded(shares.memory), _rounded(result.waited_share), tuple(result.notes)
        ),
        load_seconds=_rounded(target.load_seconds or result.load_seconds),
        cached_seconds=_rounded(result.cached_seconds),
        cached_prompt_tokens=result.cached_prompt_tokens,
        quick=quick,
        watts=result.watts,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
