"""A planner that remembers plans says at each moment what one that remembers none would say."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from breakeven import config
from breakeven.accounts.accounts import Accounts
from breakeven.accounts.budget import Spender
from breakeven.errors import BreakevenError
from breakeven.gateway.labels import Labels
from breakeven.gateway.planner import Planner
from breakeven.providers.base import Provider
from breakeven.routing.facts import CallFacts
from breakeven.routing.runtime import Runtime
from breakeven.routing.table import Route, RoutingTable

SETTINGS = config.parse(
    {
        "policy": {"default_data": "shareable", "breaker_failures": 1},
        "providers": {
            "house": {"base_url": "http://127.0.0.1:9/v1"},
            "sky": {"base_url": "https://sky.example/v1", "locality": "remote"},
        },
        "models": {
            "local": {"provider": "house", "model": "small"},
            "frontier": {"provider": "sky", "model": "large"},
        },
        "tasks": {"tag": {"models": ["local", "frontier"]}, "write": {"models": ["frontier", "local"]}},
    }
)


@dataclass
class Standing:
    """A provider of which all that matters here is whether it is there."""

    name: str
    locality: str
    present: bool = True

    def availability(self) -> str:
        return "ready" if self.present else "gone"


@dataclass
class Purse:
    """The accounts, with one budget for everything or with none."""

    usd: Decimal | None = None

    def left(self, _: Spender) -> Decimal | None:
        return self.usd


@dataclass
class World:
    """What plans depend on, and what changes under them."""

    house: Standing = field(default_factory=lambda: Standing("house", "local"))
    sky: Standing = field(default_factory=lambda: Standing("sky", "remote"))
    now: float = 0.0
    purse: Purse = field(default_factory=Purse)

    def __post_init__(self) -> None:
        self.runtime = Runtime(SETTINGS, lambda: self.now)
        self.remembering = self.planner()

    def planner(self) -> Planner:
        table = RoutingTable(
            {
                "local": Route("local", cast("Provider", self.house), "small", "", context=1000),
                "frontier": Route("frontier", cast("Provider", self.sky), "large", ""),
            }
        )
        accounts, unused = cast("Accounts", self.purse), cast("Any", None)
        return Planner(SETTINGS, table, self.runtime, accounts, unused, unused)

    def change(self, what: str) -> None:
        match what:
            case "house goes" | "house returns":
                self.house.present = what == "house returns"
            case "sky fails":
                if self.runtime.breakers.admit(("sky", "large")):
                    self.runtime.breakers.failed(("sky", "large"))
            case "sky works":
                self.now += 10_000
                if self.runtime.breakers.admit(("sky", "large")):
                    self.runtime.breakers.succeeded(("sky", "large"))
            case "a minute passes":
                self.now += 60
            case "no budget" | "some budget" | "spent budget":
                self.purse.usd = {"no budget": None, "some budget": Decimal(1), "spent budget": Decimal(0)}[what]


CHANGES = st.sampled_from(
    ("house goes", "house returns", "sky fails", "sky works", "a minute passes")
) | st.sampled_from(("no budget", "some budget", "spent budget"))
CALLS = st.builds(
    CallFacts,
    model=st.sampled_from(["local", "frontier", "auto", "task:tag", "task:write"]),
    label=st.sampled_from(["local_only", "shareable"]),
    label_source=st.just("the call"),
    prompt_tokens_estimate=st.sampled_from([10, 900, 5000]),
    prompt_bytes=st.sampled_from([40, 20_000]),
    max_output_tokens=st.sampled_from([None, 50, 500]),
    needs=st.sampled_from([frozenset(), frozenset({"tools"})]),
    deadline_seconds=st.none(),
    priority=st.sampled_from([None, "batch"]),
)
NOBODY = Labels(None, None, None, None, {}, None, None)


def answer(planner: Planner, facts: CallFacts) -> Any:
    try:
        return planner.plan(facts, NOBODY)
    except BreakevenError as error:
        return str(error)


@given(st.lists(st.one_of(CHANGES, CALLS), min_size=1, max_size=40))
def test_remembered_plans_are_the_plans_of_the_moment(events: list[str | CallFacts]) -> None:
    world = World()
    for event in events:
        if isinstance(event, str):
            world.change(event)
        else:
            assert answer(world.remembering, event) == answer(world.planner(), event)
