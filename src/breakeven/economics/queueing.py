"""Arrivals replayed through boxes with slots: who waits how long, and how many boxes keep the wait short."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.economics.memory import MICRO_BATCH_TOKENS
from breakeven.errors import ScenarioError
from breakeven.units import Seconds

FloatArray: TypeAlias = NDArray[np.float64]

MOST_BOXES = 100_000


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests in the order of their arrival; arrays of one length, in seconds.

    Attributes:
        at: time of arrival from an arbitrary start, rising.
        prefill: time to compute the uncached part of the prompt on a box that does nothing else.
        decode: time to generate the answer alone, overhead included.
    """

    at: FloatArray
    prefill: FloatArray
    decode: FloatArray

    def __post_init__(self) -> None:
        if not len(self.at) == len(self.prefill) == len(self.decode):
            raise ScenarioError("arrivals", len(self.at), "as many times as durations")
        if not len(self.at):
            raise ScenarioError("arrivals", 0, "at least one request")
        if not all(np.isfinite(column).all() for column in (self.at, self.prefill, self.decode)):
            raise ScenarioError("arrivals", "nan", "finite numbers")
        if (np.diff(self.at) < 0).any() or (self.prefill < 0).any() or (self.decode < 0).any():
            raise ScenarioError("arrivals", "unordered or negative", "rising times and durations of 0 or more")

    @property
    def service(self) -> FloatArray:
        """Time of each request served alone."""
        return self.prefill + self.decode

    @property
    def span_seconds(self) -> Seconds:
        """From the first arrival to the last."""
        return float(self.at[-1] - self.at[0])


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the arrivals.

    Attributes:
        waited: seconds each request waited for a slot.
        finished_seconds: from the first arrival to the end of the last request.
        busy_share: share of the boxes' time until then in which they worked.
    """

    boxes: int
    slots: int
    waited: FloatArray
    finished_seconds: Seconds
    busy_share: float

    def wait_quantile(self, probability: float) -> Seconds:
        """The wait that this share of requests does not exceed."""
        return float(np.quantile(self.waited, probability))


def replay(arrivals: Arrivals, boxes: int, *, slots: int = 1, decode_to_prefill: float = 0.0) -> Replay:
    """First come, first served, by the box with the fewest requests.

    Args:
        arrivals: what arrives.
        boxes: how many there are.
        slots: requests a box serves at once.
        decode_to_prefill: G/P, or the measured cost of a further answer. As engines that batch continuously do,
            prompts are computed one after the other, in pieces of 512 tokens, and each answer under way gets one token
            a piece; without a prompt, d answers are decoded together, each 1 + (d − 1)·G/P times slower than alone.
    """
    if not 1 <= boxes <= MOST_BOXES:
        raise ScenarioError("boxes", boxes, f"1 to {MOST_BOXES:,}")
    require_positive("slots", slots)
    require_not_negative("decode_to_prefill", decode_to_prefill)
    if slots == 1:
        return _one_at_a_time(arrivals, boxes)
    return _shared(arrivals, boxes, slots, decode_to_prefill)


def boxes_for_wait(
    run: Callable[[int], Replay], *, at_least: int, limit_seconds: Seconds, probability: float = 0.95
) -> Replay | None:
    """The replay with the fewest boxes whose wait keeps the limit at that quantile; ``None`` if no number does.

    Searched by doubling and halving: more boxes never make anybody wait longer.
    """
    require_not_negative("max_wait_seconds", limit_seconds)

    def keeps(result: Replay) -> bool:
        return result.wait_quantile(probability) <= limit_seconds

    low, high = max(1, at_least), max(1, at_least)
    found = run(high)
    while not keeps(found):
        low, high = high + 1, high * 2
        if high > MOST_BOXES:
            return None
        found = run(high)
    while low < high:
        middle = (low + high) // 2
        candidate = run(middle)
        if keeps(candidate):
            high, found = middle, candidate
        else:
            low = middle + 1
    return found


def _one_at_a_time(arrivals: Arrivals, boxes: int) -> Replay:
    free = [float(arrivals.at[0])] * boxes
    waited = np.empty(len(arrivals.at))
    finished = 0.0
    service = arrivals.service.tolist()
    for number, at in enumerate(arrivals.at.tolist()):
        start = max(at, free[0])
        end = start + service[number]
        heapq.heapreplace(free, end)
        waited[number] = start - at
        finished = max(finished, end)
    elapsed = finished - float(arrivals.at[0])
    busy = float(arrivals.service.sum()) / (elapsed * boxes) if elapsed else 0.0
    return Replay(boxes, 1, waited, elapsed, busy)


class _Box:
    """The requests in a box's slots, as they were admitted: ``[prefill left, decode left]`` in seconds alone."""

    __slots__ = ("active", "at", "busy", "ratio", "version")

    def __init__(self, ratio: float, at: float) -> None:
        self.ratio, self.at, self.busy, self.version = ratio, at, 0.0, 0
        self.active: list[list[float]] = []

    def rates(self) -> tuple[float, float]:
        """Progress of the first request in prefill and of each in decode, in seconds of work alone a second."""
        decoding = sum(1 for left in self.active if left[0] <= 0)
        if decoding == len(self.active):
            return 0.0, 1 / (1 + (decoding - 1) * self.ratio)
        step_tokens = MICRO_BATCH_TOKENS + decoding
        tokens_alone = self.ratio * step_tokens  # of decode, in the time that such a step takes
        return MICRO_BATCH_TOKENS / step_tokens, 1 / max(1.0, tokens_alone)

    def next_change(self) -> float:
        """When a request next ends its prefill or its decode."""
        prefill, decode = self.rates()
        first = next((left[0] / prefill for left in self.active if left[0] > 0), math.inf)
        return self.at + min(first, *(left[1] / decode for left in self.active if left[0] <= 0), math.inf)

    def advance(self, now: float) -> int:
        """Work until ``now``; how many requests have ended."""
        if not self.active:
            self.at = now
            return 0
        elapsed = now - self.at
        prefill, decode = self.rates()
        first = next((left for left in self.active if left[0] > 0), None)
        for left in self.active:
            if left[0] <= 0:
                left[1] = _less(left[1], elapsed * decode)
        if first is not None:
            first[0] = _less(first[0], elapsed * prefill)
        before = len(self.active)
        self.active = [left for left in self.active if left[0] > 0 or left[1] > 0]
        self.at, self.busy = now, self.busy + elapsed
        return before - len(self.active)


def _less(left: Seconds, done: Seconds) -> Seconds:
    return 0.0 if left - done < 1e-9 else left - done


def _shared(arrivals: Arrivals, boxes: int, slots: int, ratio: float) -> Replay:
    start = float(arrivals.at[0])
    machines = [_Box(ratio, start) for _ in range(boxes)]
    idle = [(0, number) for number in range(boxes)]
    changes: list[tuple[float, int, int]] = []
    queue: deque[int] = deque()
    waited = np.zeros(len(arrivals.at))
    at, prefill, decode = arrivals.at.tolist(), arrivals.prefill.tolist(), arrivals.decode.tolist()
    upcoming, finished = 0, start

    def admit(number: int, box: int, now: float) -> None:
        waited[number] = now - at[number]
        machines[box].active.append([prefill[number], max(decode[number], 1e-9)])

    def schedule(box: int) -> None:
        machine = machines[box]
        machine.version += 1
        if machine.active:
            heapq.heappush(changes, (machine.next_change(), box, machine.version))
        if len(machine.active) < slots:
            heapq.heappush(idle, (len(machine.active), box))

    while upcoming < len(at) or changes:
        if changes and (upcoming == len(at) or changes[0][0] <= at[upcoming]):
            now, box, version = heapq.heappop(changes)
            if version != machines[box].version:
                continue
            if machines[box].advance(now):
                finished = max(finished, now)
                while queue and len(machines[box].active) < slots:
                    admit(queue.popleft(), box, now)
        else:
            number, now = upcoming, at[upcoming]
            upcoming += 1
            while idle and idle[0][0] != len(machines[idle[0][1]].active):
                heapq.heappop(idle)
            if not idle:
                queue.append(number)
                continue
            _, box = heapq.heappop(idle)
            machines[box].advance(now)
            admit(number, box, now)
        schedule(box)
    elapsed = finished - start
    busy = sum(machine.busy for machine in machines) / (elapsed * boxes) if elapsed else 0.0
    return Replay(boxes, slots, waited, elapsed, busy)
