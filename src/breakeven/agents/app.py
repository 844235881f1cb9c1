"""The fleet: agents declared in files and agents written in Python, by name."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from breakeven.agents.context import Context
from breakeven.agents.declared import work_through
from breakeven.agents.definition import Agent, load, parse
from breakeven.errors import AgentDefinitionError, InputError, ItemRejected

F = TypeVar("F", bound=Callable[..., Any])

Function = Callable[[Context, Any], Any]


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of the fleet: its definition, what it does with an item, and where it was found."""

    agent: Agent
    function: Function
    origin: str


@dataclass
class App:
    """Agents written in Python register here; ``breakeven agents run`` finds every ``App`` in the folder's modules."""

    members: dict[str, Member] = field(default_factory=dict)

    def agent(self, name: str, **definition: Any) -> Callable[[F], F]:
        """Make a function an agent: ``function(ctx, item)``, or ``function(ctx)`` when it takes no items.

        Keyword arguments are the keys of a declared agent (``definition.Agent``). Without ``source`` a function that
        takes an item works on the queue.

        Raises:
            AgentDefinitionError: naming the key that is wrong.
        """

        def register(function: F) -> F:
            origin = f"{inspect.getsourcefile(function) or function.__module__}: agent {name!r}"
            takes_item = len(inspect.signature(function).parameters) > 1
            document = {"name": name, **definition}
            if takes_item:
                document.setdefault("source", {"kind": "queue"})
            agent = parse(document, origin)
            if agent.steps or agent.sink:
                raise AgentDefinitionError(origin, "steps", "(list)", "no steps or sink: the function does that")
            self.add(Member(agent, _calling(function, takes_item=takes_item), origin))
            return function

        return register

    def add(self, member: Member) -> None:
        """Take a member in.

        Raises:
            AgentDefinitionError: its name is taken.
        """
        name = member.agent.name
        if name in self.members:
            raise AgentDefinitionError(
                member.origin, "name", name, f"another name; {self.members[name].origin} has this one"
            )
        self.members[name] = member


def load_folder(folder: Path) -> App:
    """The fleet of a folder: each ``*.toml`` is an agent, each ``*.py`` may have an ``App``.

    Raises:
        InputError: there is no folder, or no agent in it, or a module fails when it is imported.
        AgentDefinitionError: one line about the first key that is wrong.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder", remedy="breakeven agents init FOLDER writes one with an example.")
    fleet = App()
    for path in sorted(folder.glob("*.toml")):
        agent = load(path)
        fleet.add(Member(agent, _declared(agent), str(path)))
    for path in sorted(folder.glob("*.py")):
        for app in _apps(path):
            for member in app.members.values():
                fleet.add(member)
    if not fleet.members:
        raise InputError(f"{folder} has no agents", remedy="breakeven agents init FOLDER writes one with an example.")
    return fleet


def _declared(agent: Agent) -> Function:
    def work(context: Context, item: Any) -> Any:
        return work_through(agent, context, item)

    return work


def _calling(function: Callable[..., Any], *, takes_item: bool) -> Function:
    if not takes_item:
        return lambda context, _item: function(context)
    annotation = list(inspect.get_annotations(function, eval_str=True).items())
    parameter = list(inspect.signature(function).parameters)[1]
    adapter: TypeAdapter[Any] = TypeAdapter(dict(annotation).get(parameter, Any))

    def work(context: Context, item: Any) -> Any:
        try:
            typed = adapter.validate_python(item)
        except ValidationError as error:
            raise ItemRejected(f"the item is not what {parameter!r} is annotated as: {error}") from error
        return function(context, typed)

    return work


def _apps(path: Path) -> Iterable[App]:
    name = f"breakeven_fleet.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101 - a file that ends in .py always has one
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} fails when it is imported: {type(error).__name__}: {error}") from error
    return [value for value in vars(module).values() if isinstance(value, App)]


def budgets_missing(fleet: Mapping[str, Member], held: Mapping[str, Any]) -> str | None:
    """Configuration that lets the gateway hold the budgets that agents declare; ``None`` when it holds them all.

    Args:
        held: the ``budgets`` of the settings.
    """
    lines: list[str] = []
    for name, member in sorted(fleet.items()):
        wanted = member.agent.budget
        if wanted is None:
            continue
        if not any(has.agent == name and has.usd <= wanted.usd and has.per == wanted.per for has in held.values()):
            lines += [f"[budgets.{name}]", f'usd = "{wanted.usd}"', f'per = "{wanted.per}"', f'agent = "{name}"', ""]
    return "\n".join(lines) if lines else None
