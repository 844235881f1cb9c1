"""A measurement as it could be: an M4 Max with Llama 3.3 70B."""

from __future__ import annotations

from typing import Any

import msgspec

from breakeven.catalog.measurements import (
    Conditions,
    DecodePoint,
    EngineUsed,
    Measurement,
    PrefillPoint,
    Spread,
)


def spread(seconds: float) -> Spread:
    return Spread(seconds, seconds * 0.98, seconds * 1.02, 3)


MEASUREMENT = Measurement(
    host="Apple M4 Max, 16 cores, 128 GiB",
    machine="m4-max-128",
    model="llama3.3:70b",
    shape="llama-3.3-70b-q4_k_m",
    engine=EngineUsed("ollama", "0.12.6", slots=4, context=8192),
    taken_at="2026-11-24T09:00:00+00:00",
    program="0.1.0",
    timed_by="engine",
    prefill=tuple(PrefillPoint(n, spread(n / 95)) for n in (128, 512, 2048)),
    decode=tuple(
        DecodePoint(parallel, context, spread(0.09 * (1 + 0.2 * (parallel - 1)) + 1e-6 * parallel * context))
        for parallel in (1, 4)
        for context in (144, 2064)
    ),
    overhead_seconds=0.02,
    conditions=Conditions(cpu_pressure=0.01, memory_pressure=0.0),
    cached_seconds=0.2,
    cached_prompt_tokens=512,
)


def measurement(**changed: Any) -> Measurement:
    return msgspec.structs.replace(MEASUREMENT, **changed)
