"""The morning report: what each agent did, how late it started, and what its calls cost here and in the cloud. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import quantiles

from breakeven.ledger.records import Call


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the report reads it; ``lag`` is seconds from when it was due to when it began."""

    agent: str
    state: str
    lag: float | None
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What an agent's calls cost; a sum that misses attempts of unknown cost is ``None``.

    Attributes:
        local / cloud: USD of attempts on the box (energy and its share of the machine) and at providers.
        counterfactual: USD that the reference cloud model would have charged for the calls served on the box.
        box_seconds: wall time of the box that its calls took.
        prompt_tokens / cached_tokens: of attempts on the box, and how many of them the box had computed before.
    """

    calls: int = 0
    served_locally: int = 0
    local: Decimal | None = Decimal(0)
    cloud: Decimal | None = Decimal(0)
    counterfactual: Decimal | None = Decimal(0)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    box_seconds: float = 0.0

    @property
    def prefix_hits(self) -> float | None:
        """Share of the prompt tokens that the box had computed before."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(frozen=True, slots=True)
class AgentReport:
    """An agent's night; lags in seconds, ``None`` where no run began."""

    agent: str
    runs: int
    skipped: int
    failed_runs: int
    succeeded: int
    failed: int
    waiting: int
    dead: int
    lag_p50: float | None
    lag_p95: float | None
    cost: Cost


def report(
    runs: Iterable[RunRow], states: dict[str, dict[str, int]], calls: Iterable[Call], agents: Sequence[str] = ()
) -> list[AgentReport]:
    """A row for each agent that exists, ran or has items.

    Args:
        states: items by agent and state.
        calls: of the same time, from the ledger.
    """
    by_agent: dict[str, list[RunRow]] = {}
    for run in runs:
        by_agent.setdefault(run.agent, []).append(run)
    costs = cost_by_agent(calls)
    names = sorted({*by_agent, *states, *agents})
    return [_row(name, by_agent.get(name, []), states.get(name, {}), costs.get(name, Cost())) for name in names]


def cost_by_agent(calls: Iterable[Call]) -> dict[str, Cost]:
    """What the calls of each agent cost."""
    found: dict[str, Cost] = {}
    for call in calls:
        if call.agent is not None:
            found[call.agent] = _add(found.get(call.agent, Cost()), call)
    return found


def total(rows: Iterable[AgentReport]) -> Cost:
    """The cost of all agents together."""
    result = Cost()
    for row in rows:
        cost = row.cost
        result = Cost(
            result.calls + cost.calls,
            result.served_locally + cost.served_locally,
            _plus(result.local, cost.local),
            _plus(result.cloud, cost.cloud),
            _plus(result.counterfactual, cost.counterfactual),
            result.prompt_tokens + cost.prompt_tokens,
            result.cached_tokens + cost.cached_tokens,
            result.box_seconds + cost.box_seconds,
        )
    return result


def share_of_box(rows: Iterable[AgentReport], periods: Mapping[str, float]) -> float | None:
    """How much of the box the fleet needs at its cadence, by what its runs took: 1.4 is 140 %, too much for one box.

    Args:
        periods: seconds between the wake-ups of each agent.

    Returns:
        ``None`` when no run of a scheduled agent has called the box yet.
    """
    shares = [row.cost.box_seconds / row.runs / periods[row.agent] for row in rows if row.runs and row.agent in periods]
    return sum(shares) if any(shares) else None


def _row(name: str, runs: list[RunRow], states: dict[str, int], cost: Cost) -> AgentReport:
    lags = sorted(run.lag for run in runs if run.lag is not None)
    cuts = quantiles(lags, n=20, method="inclusive") if len(lags) > 1 else lags * 19
    return AgentReport(
        agent=name,
        runs=sum(run.state not in ("skipped", "waiting") for run in runs),
        skipped=sum(run.state == "skipped" for run in runs),
        failed_runs=sum(run.state == "failed" for run in runs),
        succeeded=sum(run.succeeded for run in runs),
        failed=sum(run.failed for run in runs),
        waiting=sum(states.get(state, 0) for state in ("ready", "assigned", "working")),
        dead=states.get("dead", 0),
        lag_p50=cuts[9] if cuts else None,
        lag_p95=cuts[18] if cuts else None,
        cost=cost,
    )


def _add(cost: Cost, call: Call) -> Cost:
    local, cloud, counterfactual = cost.local, cost.cloud, cost.counterfactual
    prompt, cached, served = cost.prompt_tokens, cost.cached_tokens, cost.served_locally
    busy = cost.box_seconds
    for attempt in call.attempts:
        if attempt.locality == "remote":
            cloud = _plus(cloud, attempt.cost)
            continue
        local = _plus(local, attempt.cost)
        busy += attempt.box_seconds or 0.0
        if attempt.tokens is not None:
            prompt += attempt.tokens.input
            cached += attempt.tokens.cache_read
    if call.attempts and call.attempts[-1].locality == "local":
        served += 1
        counterfactual = _plus(counterfactual, call.attempts[-1].money.counterfactual)
    return Cost(cost.calls + 1, served, local, cloud, counterfactual, prompt, cached, busy)


def _plus(augend: Decimal | None, addend: Decimal | None) -> Decimal | None:
    return None if augend is None or addend is None else augend + addend
