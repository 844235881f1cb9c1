"""Who is asked, in which order and why; who is not, and why not. Pure: the same facts give the same plan.

A candidate is set aside by the first of these rules that applies:

1. **existence**: nothing is configured under its name;
2. **data**: the call's data is ``local_only`` and the candidate is not on a machine of the owner;
3. **sharing**: it is remote and does less for the data than ``policy.share_with`` demands;
4. **capability**: the call needs something that the candidate is known not to do (unknown: it is asked, and when it
   refuses the request the next one is);
5. **context**: the prompt cannot fit, however it is tokenised;
6. **health**: it is not ready, or its circuit breaker is open;
7. **price**: it is expected to cost more than the task allows for one attempt, or nobody knows what it costs;
8. **budget**: what is left of a budget does not pay for it.

Those that remain keep the order of the list, except that

9. one whose prompt, by estimate, does not fit its context, or whose breaker is half open, yields to those without
   such a doubt;
10. one predicted to miss the deadline yields to those that keep it, and one predicted to exceed the task's
    ``max_wait_seconds`` to those that do not;
11. among those without any doubt, a later one goes first when ``waiting_usd_per_hour`` × the time it saves exceeds the
    dollars it adds.

None is left out for rules 9 to 11: estimates and forecasts err, and a late answer is better than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from breakeven.config import NO_GATES, Capability, GateSettings, PolicySettings, Settings
from breakeven.errors import (
    BreakevenError,
    BudgetExhausted,
    ContextExceeded,
    DataStays,
    EngineUnavailable,
    ModelNotFound,
    Unsupported,
)
from breakeven.ledger.records import Locality
from breakeven.privacy.clearance import Label
from breakeven.providers.base import Priority
from breakeven.routing.facts import CallFacts, TargetState
from breakeven.routing.policy import Terms, terms
from breakeven.units import usd

Rule: TypeAlias = Literal["existence", "data", "sharing", "capability", "context", "health", "price", "budget"]
StreamMode: TypeAlias = Literal["buffer", "pass"]

MAX_BYTES_PER_TOKEN = 16
"""No tokeniser packs ordinary text denser, so a longer prompt cannot fit."""
OUTPUT_ROOM = 4
"""Callers ask for more output than they use: at most a quarter of the window is set aside for it."""
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Planned:
    """A target to try.

    Attributes:
        alias: its name in the configuration.
        provider / model: whom that means.
        locality: whether it stays on a machine of the owner.
        reason: why it stands at this place, for people.
        unproven: what the call needs and nobody knows whether the target can do; it may refuse the request for that.
    """

    alias: str
    provider: str
    model: str
    locality: Locality
    reason: str
    unproven: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class SetAside:
    """A candidate that is not tried, the rule that says so, and the reason in words."""

    alias: str
    rule: Rule
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for a call.

    Attributes:
        attempts: targets in the order they are tried.
        set_aside: candidates that are not.
        label / label_source: of the call's data, and who gave it.
        task: its task, if it has one.
        deadline_seconds: from now, for everything; ``None`` without one.
        gates: what an answer must pass; ``NO_GATES`` itself where there is nothing.
        stream_mode: what a streaming caller gets while gates wait.
        priority: its place in queues.
        cache_seconds: how long its answer may be given again; ``None``: never.
    """

    attempts: tuple[Planned, ...]
    set_aside: tuple[SetAside, ...]
    label: Label
    label_source: str
    task: str | None
    deadline_seconds: float | None
    gates: GateSettings
    stream_mode: StreamMode
    priority: Priority
    cache_seconds: float | None

    def document(self) -> dict[str, Any]:
        """The plan as plain data, for JSON."""
        document = {one.name: getattr(self, one.name) for one in fields(self)}
        document["attempts"] = [asdict(one) for one in self.attempts]
        document["set_aside"] = [asdict(one) for one in self.set_aside]
        document["gates"] = self.gates.model_dump(mode="json")
        return document

    def refusal(self) -> BreakevenError | None:
        """The error for a call that nobody may serve, naming each candidate; ``None`` when there is somebody."""
        if self.attempts:
            return None
        reasons = "; ".join(f"{one.alias}: {one.reason}" for one in self.set_aside)
        message = f"nobody can serve this call ({reasons})"
        rules = {one.rule for one in self.set_aside}
        if "health" in rules:
            return EngineUnavailable(message, remedy="Send it again later.")
        if "budget" in rules:
            return BudgetExhausted(message, remedy="Raise the budget, or wait for its next period.")
        if rules & {"data", "sharing"}:
            return DataStays(
                f"{message}; its data is {self.label}, says {self.label_source}",
                remedy="If it may leave this machine, send x-breakeven-data: shareable, or label its key or task so.",
            )
        if "context" in rules:
            return ContextExceeded(message, remedy="Shorten the prompt, or add a model with a larger context.")
        if rules == {"existence"}:
            return ModelNotFound(message, remedy="Add them under [models], or change the list.")
        return Unsupported(message, remedy="breakeven explain shows what each candidate lacks.")


def plan(facts: CallFacts, settings: Settings, states: Sequence[TargetState]) -> Plan:
    """Plan a call; see the rules above.

    Args:
        states: every target that exists, in any order.

    Raises:
        ModelNotFound: when the call asks for a model or a task that does not exist.
        RequestError: when it names two tasks.
    """
    by_alias = {state.alias: state for state in states}
    policy = settings.policy
    entitled = terms(facts, policy, settings.all_tasks, by_alias)
    task = entitled.settings
    deadline = _least(facts.deadline_seconds, task.deadline_seconds, policy.deadline_seconds)
    kept: list[_Candidate] = []
    aside: list[SetAside] = []
    for alias in entitled.candidates:
        state = by_alias.get(alias)
        verdict = _exclusion(facts, entitled, policy, alias, state)
        if state is None or verdict is not None:
            aside.append(verdict or SetAside(alias, "existence", "no such model is configured"))
        else:
            doubts = _doubts(facts, state, deadline, task.max_wait_seconds)
            unproven = tuple(sorted(facts.needs)) if state.capabilities is None else ()
            kept.append(_Candidate(state, doubts, tuple(map(bool, doubts)), unproven))
    return Plan(
        attempts=_ordered(kept, entitled.why, task.waiting_usd_per_hour),
        set_aside=tuple(aside),
        label=entitled.label,
        label_source=entitled.label_source,
        task=entitled.task,
        deadline_seconds=deadline,
        gates=task.gates if task.gates != NO_GATES else NO_GATES,
        stream_mode=task.stream,
        priority=task.priority or facts.priority or "interactive",
        cache_seconds=task.cache_seconds,
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    state: TargetState
    doubts: tuple[str, ...]
    """In words, one place for each kind of doubt, the gravest first; empty where there is none."""
    rank: tuple[bool, ...]
    unproven: tuple[Capability, ...]


def _exclusion(
    facts: CallFacts, entitled: Terms, policy: PolicySettings, alias: str, state: TargetState | None
) -> SetAside | None:
    """Rules 1 to 8: why a candidate is not tried."""
    if state is None:
        return SetAside(alias, "existence", "no such model is configured")
    remote = state.locality == "remote"
    if remote and entitled.label != "shareable":
        return SetAside(alias, "data", f"{state.provider} is outside this machine and the data is {entitled.label}")
    if remote and (lacking := _data_terms_lacking(state, policy)):
        return SetAside(alias, "sharing", lacking)
    if state.capabilities is not None and (lacks := facts.needs - state.capabilities):
        return SetAside(alias, "capability", f"{state.model} cannot do {', '.join(sorted(lacks))}")
    if state.context is not None and facts.prompt_bytes > state.context * MAX_BYTES_PER_TOKEN:
        size = f"{facts.prompt_bytes:,} bytes of prompt are more than {state.context:,} tokens of context can hold"
        return SetAside(alias, "context", size)
    if not state.ready:
        return SetAside(alias, "health", state.note or f"{state.provider} is not ready")
    if state.breaker == "open":
        return SetAside(alias, "health", f"{state.provider} failed repeatedly and is left alone for a while")
    cap = entitled.settings.max_usd_per_call
    if cap is not None and remote and state.expected_usd is None:
        return SetAside(alias, "price", f"nobody knows what it costs, and the task pays at most {usd(cap)}")
    if cap is not None and state.expected_usd is not None and state.expected_usd > cap:
        return SetAside(alias, "price", f"expected to cost {usd(state.expected_usd)}, the task pays at most {usd(cap)}")
    left = state.budget_left_usd
    if remote and left is not None and (left <= 0 or (state.expected_usd is not None and state.expected_usd > left)):
        return SetAside(alias, "budget", f"expected to cost {usd(state.expected_usd)}, the budget has {usd(left)} left")
    return None


def _data_terms_lacking(state: TargetState, policy: PolicySettings) -> str:
    if policy.share_with != "any" and state.trains:
        return f"{state.provider} may train on what it is sent, as far as is known"
    if policy.share_with == "zero_retention" and state.retains:
        return f"{state.provider} keeps what it is sent, as far as is known"
    return ""


def _doubts(facts: CallFacts, state: TargetState, deadline: float | None, patience: float | None) -> tuple[str, ...]:
    """Rules 9 and 10: what speaks against trying a candidate first."""
    tight = ""
    if not has_room(facts, state):
        tight = f"about {facts.prompt_tokens_estimate:,} tokens may not fit its {state.context:,}"
    probing = "it is being tried again after failures" if state.breaker == "half_open" else ""
    wait = state.wait_seconds
    late = f"predicted {wait:.0f} s, the deadline is {deadline:g} s" if _exceeds(wait, deadline) else ""
    slow = f"predicted {wait:.0f} s, the task waits {patience:g} s" if _exceeds(wait, patience) else ""
    return tight, probing, late, slow


def has_room(facts: CallFacts, state: TargetState) -> bool:
    """Whether rules 5 and 9 let a call of this size pass."""
    if state.context is None:
        return True
    if facts.prompt_bytes > state.context * MAX_BYTES_PER_TOKEN:
        return False
    room = min(facts.max_output_tokens or 0, state.context // OUTPUT_ROOM)
    return facts.prompt_tokens_estimate + room <= state.context


def _exceeds(wait: float | None, limit: float | None) -> bool:
    return wait is not None and limit is not None and wait > limit


def _ordered(kept: list[_Candidate], why: str, waiting_usd_per_hour: Decimal) -> tuple[Planned, ...]:
    ordered = sorted(kept, key=lambda candidate: candidate.rank)
    overtaken = ""
    if len(kept) > 1 and ordered[0] is not kept[0]:
        doubt = next(filter(None, kept[0].doubts))
        overtaken = f"before {kept[0].state.alias}: {doubt}"
    if (faster := _worth_its_price(ordered, waiting_usd_per_hour)) is not None:
        overtaken = f"the time it saves over {ordered[0].state.alias} is worth more than it adds"
        ordered.remove(faster)
        ordered.insert(0, faster)
    attempts = []
    before = ""
    for candidate in ordered:
        state = candidate.state
        place = f"{why}, after {before}" if before else why
        reason = "; ".join(filter(None, (place, overtaken, *candidate.doubts)))
        attempts.append(Planned(state.alias, state.provider, state.model, state.locality, reason, candidate.unproven))
        before, overtaken = state.alias, ""
    return tuple(attempts)


def _worth_its_price(ordered: list[_Candidate], usd_per_hour: Decimal) -> _Candidate | None:
    """Rule 11: who goes before the first; ``None`` when nobody does, or a wait or a price is unknown."""
    sure = [candidate for candidate in ordered if not any(candidate.rank)] if usd_per_hour else []
    if len(sure) < 2:
        return None
    leader = sure[0]
    for candidate in sure[1:]:
        first, later = leader.state, candidate.state
        if first.wait_seconds is None or later.wait_seconds is None:
            continue
        if first.expected_usd is None or later.expected_usd is None:
            continue
        saved_hours = Decimal(str(first.wait_seconds - later.wait_seconds)) / SECONDS_PER_HOUR
        if saved_hours > 0 and usd_per_hour * saved_hours > later.expected_usd - first.expected_usd:
            leader = candidate
    return None if leader is sure[0] else leader


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
