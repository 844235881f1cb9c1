"""Many topics at once: how long they take on the boxes and in cloud accounts of several tiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from breakeven.catalog.accounts import accounts
from breakeven.economics.limits import LimitedRequest, burst
from breakeven.economics.queueing import Arrivals, replay
from breakeven.economics.service import BoxSpeed
from breakeven.planning.scenario import Scenario
from breakeven.units import Seconds

FIRST_TOKEN_SECONDS = 1.0
"""Time to the first token in the cloud, assumed."""


@dataclass(frozen=True, slots=True)
class BurstCase:
    """One place where the burst could be served.

    Attributes:
        seconds: from the start to the end of the last topic; ``None`` when a request exceeds a limit for good.
        held_by: limits that made requests wait.
    """

    place: str
    seconds: Seconds | None
    held_by: tuple[str, ...]
    source: str


def bursts(scenario: Scenario, speed: BoxSpeed | None) -> tuple[BurstCase, ...]:
    """``burst_topics`` chains of ``calls_per_wake`` requests, all starting at once."""
    work = scenario.workload
    cases = []
    if speed is not None:
        computed = float(work.input_tokens - work.prefix_tokens * work.local_hit_rate)
        prefill = computed / speed.prefill.tokens_per_second
        decode = speed.seconds(computed, work.output_tokens, context_tokens=work.input_tokens) - prefill
        topics, calls = work.burst_topics, work.calls_per_wake
        chains = Arrivals(np.zeros(topics), np.full(topics, prefill * calls), np.full(topics, decode * calls))
        local = replay(chains, scenario.box.count, slots=scenario.serving.slots, decode_to_prefill=speed.batch_cost)
        boxes = f"{scenario.box.count} box{'es' if scenario.box.count > 1 else ''} of yours"
        cases.append(BurstCase(boxes, local.finished_seconds, (), "replayed"))

    counted = round(work.input_tokens - work.prefix_tokens * work.cloud_hit_rate)
    seconds = FIRST_TOKEN_SECONDS + work.output_tokens / scenario.cloud.tokens_per_second
    requests = [LimitedRequest(counted, work.output_tokens, seconds)] * work.calls_per_wake
    for account in accounts():
        forecast = burst([requests] * work.burst_topics, account)
        cases.append(BurstCase(account.name, forecast.seconds, forecast.held_by, account.source))
    return tuple(cases)
