"""Gathers what is known of a call's candidates at this moment and has the routing room plan with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeAlias

import msgspec

from breakeven.accounts.accounts import Accounts
from breakeven.accounts.budget import Spender
from breakeven.config import Capability, Settings, TaskSettings
from breakeven.economics.rates import price_call
from breakeven.economics.tokens import TokenCounts
from breakeven.gateway.labels import Labels
from breakeven.gateway.metering import Metering
from breakeven.privacy.clearance import Label
from breakeven.providers.base import Hints, Priority
from breakeven.routing.facts import CallFacts, TargetState
from breakeven.routing.forecast import Foreseeing, WaitForecast
from breakeven.routing.plan import Plan, has_room, plan
from breakeven.routing.policy import Terms, terms
from breakeven.routing.runtime import Runtime
from breakeven.routing.table import Route, RoutingTable

LOCAL = "local"
"""The alias that takes over when ``budgets.X.on_exhausted = "local"``."""
USUAL_PLANS = 1024
"""Kinds of calls of which the plan is remembered."""
TYPICAL_OUTPUT_TOKENS = 256
"""Expected of a call that names no limit; only forecasts use it."""


_Kind: TypeAlias = tuple[str, str | None, Label, str, frozenset[Capability], Priority | None]
"""What plans depend on while all candidates are at rest."""


@dataclass(frozen=True, slots=True)
class _Usual:
    """A plan that was made while its candidates were at rest."""

    candidates: tuple[Route, ...]
    plan: Plan


class Planner:
    """Plans calls with the settings of one moment; a reload replaces it."""

    def __init__(
        self,
        settings: Settings,
        table: RoutingTable,
        runtime: Runtime,
        accounts: Accounts,
        metering: Metering,
        forecast: WaitForecast,
    ) -> None:
        self._settings = settings
        self._table = table
        self._runtime = runtime
        self._accounts = accounts
        self._metering = metering
        self._forecast = forecast
        self._at_rest = {route.name: _at_rest(route) for route in table}
        self._usual: dict[_Kind, _Usual] = {}

    @property
    def default_data(self) -> Label:
        """Label of data that nobody labelled."""
        return self._settings.policy.default_data

    def plan(self, facts: CallFacts, labels: Labels) -> Plan:
        """The plan of a call.

        Raises:
            ModelNotFound: the model or task does not exist.
        """
        kind = facts.model, facts.task, facts.label, facts.label_source, facts.needs, facts.priority
        usual = self._usual.get(kind)
        if usual is not None and self._holds(usual, facts, labels):
            return usual.plan
        served = self._table.names
        entitled = terms(facts, self._settings.policy, self._settings.all_tasks, served)
        candidates = tuple(self._table.find(alias) for alias in entitled.candidates if alias in served)
        states = [self._state(route, facts, labels, entitled) for route in candidates]
        made = plan(facts, self._settings, states)
        if all(state is self._at_rest[state.alias] and has_room(facts, state) for state in states):
            if len(self._usual) >= USUAL_PLANS:
                self._usual.clear()
            self._usual[kind] = _Usual(candidates, made)
        return made

    def _holds(self, usual: _Usual, facts: CallFacts, labels: Labels) -> bool:
        """Whether the rules would come to the same plan again, since every candidate is at rest as it was then."""
        if facts.deadline_seconds is not None:
            return False
        for route in usual.candidates:
            if not self._rests(route) or not has_room(facts, self._at_rest[route.name]):
                return False
            left = self._budget_left(route, labels, usual.plan.task)
            if left is not None and left <= 0:
                return False
        return True

    def _rests(self, route: Route) -> bool:
        provider = route.provider
        breaker = self._runtime.breakers.state((provider.name, route.model))
        return breaker == "closed" and provider.availability() != "gone"

    def instead(self, tried: Plan, facts: CallFacts, labels: Labels) -> Plan | None:
        """The plan for a call whose budget is spent, if that budget says to serve it locally and nobody has yet."""
        if any(planned.locality == "local" for planned in tried.attempts) or LOCAL not in self._table.names:
            return None
        refused = [*(one.alias for one in tried.attempts), *(one.alias for one in tried.set_aside)]
        known = [self._table.find(alias) for alias in refused if alias in self._table.names]
        spenders = [self._spender(route, labels, tried.task) for route in known]
        if not any(self._accounts.falls_back(spender) for spender in spenders):
            return None
        facts = msgspec.structs.replace(facts, model=LOCAL, task=None)
        entitled = terms(facts, self._settings.policy, self._settings.all_tasks, self._table.names)
        again = plan(facts, self._settings, [self._state(self._table.find(LOCAL), facts, labels, entitled)])
        reason = f"the budget for {', '.join(refused)} is spent"
        local = tuple(replace(one, reason=reason) for one in again.attempts if one.locality == "local")
        return replace(tried, attempts=local, set_aside=again.set_aside) if local else None

    def _state(self, route: Route, facts: CallFacts, labels: Labels, entitled: Terms) -> TargetState:
        """How a target stands. Forecasts and prices are looked up where a rule asks for them, and not for each call."""
        provider, task = route.provider, entitled.settings
        weighs_time = task.waiting_usd_per_hour > 0
        timed = weighs_time or task.max_wait_seconds is not None or self._has_deadline(facts, task)
        priced = weighs_time or task.max_usd_per_call is not None
        left = self._budget_left(route, labels, entitled.task)
        if left is not None and left > 0 and not priced:
            left = None  # whether it is enough, the reservation finds out
        if not timed and not priced and left is None and self._rests(route):
            return self._at_rest[route.name]
        gone = provider.availability() == "gone"
        return replace(
            self._at_rest[route.name],
            breaker=self._runtime.breakers.state((provider.name, route.model)),
            wait_seconds=self._wait(route, facts) if timed else None,
            expected_usd=self._expected_usd(route, facts) if priced else None,
            budget_left_usd=left,
            ready=not gone,
            note=provider.dispatcher.trouble() if gone and isinstance(provider, Foreseeing) else "",
        )

    def _budget_left(self, route: Route, labels: Labels, task: str | None) -> Decimal | None:
        if route.provider.locality == "local":
            return None  # its budgets are asked when it is tried: they let it through until they are spent
        return self._accounts.left(self._spender(route, labels, task))

    def _has_deadline(self, facts: CallFacts, task: TaskSettings) -> bool:
        deadlines = (facts.deadline_seconds, task.deadline_seconds, self._settings.policy.deadline_seconds)
        return any(deadline is not None for deadline in deadlines)

    def _wait(self, route: Route, facts: CallFacts) -> float | None:
        hints = Hints(agent=facts.agent, priority=facts.priority or "interactive")
        return self._forecast.seconds(route, facts.prompt_tokens_estimate, _typical_output(facts), hints)

    def _spender(self, route: Route, labels: Labels, task: str | None) -> Spender:
        provider = route.provider
        return Spender(labels.key, task, labels.agent, provider.name, route.model, provider.locality)

    def _expected_usd(self, route: Route, facts: CallFacts) -> Decimal | None:
        if route.provider.locality == "local":
            return Decimal(0)
        price = self._metering.price(route.provider, route.model, time.time())
        if price is None:
            return None
        counts = TokenCounts(uncached_input=facts.prompt_tokens_estimate, output=_typical_output(facts))
        cost = price_call(counts, price.rates)
        return None if cost is None else cost.total


def _at_rest(route: Route) -> TargetState:
    """A target that nothing is known against."""
    return TargetState(
        alias=route.name,
        provider=route.provider.name,
        model=route.model,
        locality=route.provider.locality,
        context=route.context,
        max_output_tokens=route.max_output_tokens,
        capabilities=route.capabilities,
        retains=route.retains,
        trains=route.trains,
    )


def _typical_output(facts: CallFacts) -> int:
    return min(facts.max_output_tokens or TYPICAL_OUTPUT_TOKENS, TYPICAL_OUTPUT_TOKENS)
