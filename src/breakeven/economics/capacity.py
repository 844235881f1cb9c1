"""How much one box serves in a month, and how many boxes a load needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from breakeven.economics.domain import require_not_negative, require_positive
from breakeven.errors import ScenarioError
from breakeven.units import SECONDS_PER_MONTH, Seconds, Tokens

PLANNED_UTILISATION = 0.7
"""ρ: beyond it, waiting grows faster than anybody likes."""


@dataclass(frozen=True, slots=True)
class BoxesNeeded:
    """Boxes by each demand; the greatest counts.

    Attributes:
        busy_boxes: λ·E[s]: boxes that would be busy all the time, a fraction; at 100 % utilisation nobody is served
            in time.
        by_utilisation: ⌈busy_boxes / ρ⌉.
        by_wait: the fewest with which the 95th percentile of waiting keeps its limit; ``None`` when it was not asked.
        by_memory: ``None`` when the model does not fit at all.
    """

    busy_boxes: float
    by_utilisation: int
    by_wait: int | None
    by_memory: int | None

    @property
    def boxes(self) -> int | None:
        """The most that any demand asks for; ``None`` when no number of these boxes helps."""
        return None if self.by_memory is None else max(self.by_utilisation, self.by_wait or 1, self.by_memory)


def capacity_tokens(
    seconds_per_request: Seconds, tokens_per_request: float, utilisation: float = PLANNED_UTILISATION
) -> Tokens:
    """Tokens one box serves in a month of 730 h: ρ · seconds of a month / E[s] · tokens a request, rounded down.

    >>> [round(capacity_tokens(i / 80 + o / 10, i + o) / 1e6) for i, o in ((1000, 1000), (3000, 1000), (20000, 1000))]
    [33, 54, 110]
    """
    require_utilisation(utilisation)
    require_positive("seconds_per_request", seconds_per_request)
    require_positive("tokens_per_request", tokens_per_request)
    return math.floor(utilisation * SECONDS_PER_MONTH / seconds_per_request * tokens_per_request)


def busy_boxes(requests_per_second: float, seconds_per_request: Seconds) -> float:
    """λ·E[s], the work that arrives each second in boxes.

    >>> round(busy_boxes(31 * 12 * 4 / 3600, 2000 / 80 + 150 / 10), 1)
    16.5
    """
    require_not_negative("requests_per_second", requests_per_second)
    require_not_negative("seconds_per_request", seconds_per_request)
    return requests_per_second * seconds_per_request


def boxes_at(busy: float, utilisation: float = PLANNED_UTILISATION) -> int:
    """⌈λ·E[s] / ρ⌉, at least one."""
    require_utilisation(utilisation)
    return max(1, math.ceil(busy / utilisation - 1e-9))


def require_utilisation(utilisation: float) -> None:
    """Refuse plans at or beyond 100 %: a queue that is always busy grows without end."""
    if not 0 < utilisation < 1:
        raise ScenarioError("utilisation", utilisation, "more than 0 and less than 1; 0.7 is usual")
