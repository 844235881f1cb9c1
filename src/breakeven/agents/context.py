"""What an agent's function is given: steps, calls of models, parts in parallel, and writes that happen once."""

from __future__ import annotations

import inspect
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypedDict, TypeVar, Unpack, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from breakeven.agents import queue
from breakeven.agents.definition import Agent
from breakeven.agents.llm import PATIENCE_SECONDS, Asks, Call, Message, ask_for_valid
from breakeven.agents.schema import checker
from breakeven.errors import AgentError, ItemDeferred, ItemRejected

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Options(TypedDict, total=False):
    """What a call of a model may say beyond its prompt; what is left out is as the agent has it."""

    task: str | None
    model: str | None
    system: str | None
    max_tokens: int | None
    temperature: float | None


class Steps(Protocol):
    """The engine as an agent's function sees it; ``engine.Engine`` says what each does."""

    def step(self, name: str, call: Callable[[], Any]) -> Any: ...  # noqa: D102
    def transaction(self, name: str, call: Callable[[Session], Any]) -> Any: ...  # noqa: D102
    def branches(self, documents: Sequence[dict[str, Any]], parallel: int) -> Iterator[Any]: ...  # noqa: D102
    def call_key(self) -> str: ...  # noqa: D102
    def workflow(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Branch(Generic[T]):
    """One part of a ``map``: its result, or the error that ended it."""

    part: Any
    value: T | None
    error: AgentError | None


@dataclass(frozen=True, slots=True)
class Fanned(Generic[T]):
    """What came of a ``map``, in the order of its parts."""

    branches: tuple[Branch[T], ...]

    @property
    def succeeded(self) -> list[Branch[T]]:
        """Parts that have a result."""
        return [branch for branch in self.branches if branch.error is None]

    @property
    def failed(self) -> list[Branch[T]]:
        """Parts that have none."""
        return [branch for branch in self.branches if branch.error is not None]

    def values(self) -> list[Any]:
        """All results.

        Raises:
            AgentError: the error of the first part that failed.
        """
        for branch in self.branches:
            if branch.error is not None:
                raise branch.error
        return [branch.value for branch in self.branches]


class Context:
    """One item's way through an agent.

    Attributes:
        agent: its definition.
        key: the item's; unique with the agent.
        run: the wake-up that took the item; ``None`` for an attempt taken up later.
    """

    def __init__(self, agent: Agent, steps: Steps, client: Asks, *, key: str, run: str | None, chain: str) -> None:
        self.agent = agent
        self.key = key
        self.run = run
        self._steps = steps
        self._client = client
        self._chain = chain
        self._prefix: str | None = agent.system

    def step(self, function: Callable[..., T], *arguments: Any, name: str | None = None) -> T:
        """Call a function once, and never again when the item is taken up after a kill.

        The result is kept as JSON. It comes back as the function's return annotation says, the first time as on every
        replay; without an annotation as plain JSON values. A failure is tried again ``retries`` times, with backoff,
        unless it is an ``ItemRejected``. The function may run twice when the process dies before the record is made:
        what must happen once belongs into ``commit``.

        Raises:
            ItemRejected: it failed for good.
        """
        adapter = _returns(function)
        label = name or _name(function)

        def call() -> Any:
            return _as_json(adapter, self._retrying(lambda: function(*arguments)))

        return adapter.validate_python(self._steps.step(label, call))  # type: ignore[no-any-return]

    def commit(self, function: Callable[..., T], *arguments: Any, name: str | None = None) -> T:
        """Write to the agents' database exactly once: ``function(session, *arguments)`` runs in the transaction that
        also holds the step's record, so that both are there or neither.

        Raises:
            ItemRejected: it failed; nothing is written.
        """
        adapter = _returns(function)

        def call(session: Session) -> Any:
            return _as_json(adapter, function(session, *arguments))

        return adapter.validate_python(self._steps.transaction(name or _name(function), call))  # type: ignore[no-any-return]

    @overload
    def llm(self, name: str, prompt: str, *, schema: type[M], **options: Unpack[Options]) -> M: ...
    @overload
    def llm(self, name: str, prompt: str, *, schema: Mapping[str, Any] | None, **options: Unpack[Options]) -> Any: ...
    @overload
    def llm(self, name: str, prompt: str, **options: Unpack[Options]) -> str: ...
    def llm(
        self,
        name: str,
        prompt: str,
        *,
        schema: type[BaseModel] | Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Any:
        """Ask a model, once: through the gateway a repeated step gets the answer that was given, and is not paid again.

        With a schema the answer is JSON: an invalid one is asked for again, then of the model that the agent promotes
        to, and then the item is rejected.

        Raises:
            ItemRejected: no valid answer, or the request is refused.
            ItemDeferred: nobody answers for now, or the budget is spent.
        """
        agent = self.agent
        messages: list[Message] = [
            *({"role": "system", "content": text} for text in (self._prefix, options.get("system")) if text),
            {"role": "user", "content": prompt},
        ]
        check = checker(schema) if schema is not None else None

        def call() -> dict[str, Any]:
            request = Call(
                options.get("model") or agent.model,
                messages,
                self._steps.call_key(),
                self._labels(options.get("task")),
                None if check is None else (name, check.json_schema),
                options.get("max_tokens"),
                options.get("temperature"),
                agent.deadline_seconds or PATIENCE_SECONDS,
            )
            if check is None:
                answer = self._client.ask(request, retries=agent.retries)
                return {"value": answer.text, "served_by": answer.served_by}
            answer, value = ask_for_valid(
                self._client, request, check.check, promote=agent.promote, retries=agent.retries
            )
            return {"value": value, "served_by": answer.served_by}

        value = self._steps.step(name, call)["value"]
        return value if check is None else check.restore(value)

    def map(
        self, function: Callable[..., T], parts: Sequence[Any], *, parallel: int = 8, prefix: str | None = None
    ) -> Fanned[T]:
        """Call ``function(ctx, part)`` for each part, ``parallel`` at once, each with steps of its own.

        A part that fails leaves the others alone. After a kill in the middle, parts that ended are not worked on
        again. ``prefix`` is put before every prompt of every part, so that the box computes it once.

        Args:
            function: one that a restarted process finds again by module and name.

        Raises:
            ItemRejected: the function cannot be found by its name.
            ItemDeferred: a part was deferred; the parts that ended are kept.
        """
        found = _importable(function)
        base = {"agent": self.agent.name, "function": found, "key": self.key, "run": self.run, "chain": self._chain}
        shared = "\n\n".join(text for text in (self._prefix, prefix) if text) or None
        documents = [{**base, "part": part, "number": number, "prefix": shared} for number, part in enumerate(parts)]
        adapter = _returns(function)
        branches: list[Branch[T]] = []
        for part, result in zip(parts, self._steps.branches(documents, parallel), strict=True):
            error = result if isinstance(result, AgentError) else None
            branches.append(Branch(part, None if error is not None else adapter.validate_python(result), error))
        deferred = next((branch.error for branch in branches if isinstance(branch.error, ItemDeferred)), None)
        if deferred is not None:
            raise ItemDeferred(
                f"a part was deferred: {deferred.message}", retry_after_seconds=deferred.retry_after_seconds
            )
        return Fanned(tuple(branches))

    def enqueue(self, agent: str, *payloads: Any) -> None:
        """Give another agent items to work on, each exactly once."""

        def put(session: Session) -> int:
            key = self._steps.call_key()
            new = [queue.New(payload, f"{key}:{number}") for number, payload in enumerate(payloads)]
            return queue.enqueue(session.connection(), agent, new)

        self._steps.transaction(f"enqueue {agent}", put)

    def call_key(self) -> str:
        """Inside a step: what names it, the same whenever it is repeated; an ``Idempotency-Key`` for calls of yours."""
        return self._steps.call_key()

    def _labels(self, task: str | None) -> dict[str, str]:
        agent = self.agent
        labels = {
            "agent": agent.name,
            "chain": self._chain,
            "task": task or agent.task,
            "data": agent.data,
            "priority": agent.priority,
            "deadline-seconds": None if agent.deadline_seconds is None else f"{agent.deadline_seconds:g}",
        }
        return {name: value for name, value in labels.items() if value is not None}

    def _retrying(self, call: Callable[[], T]) -> T:
        for attempt in range(self.agent.retries):
            try:
                return call()
            except AgentError:
                raise
            except Exception:  # noqa: BLE001 - the function is the user's; its last failure is raised below
                time.sleep(random.uniform(0.5, 1.0) * min(0.2 * 2**attempt, 10.0))  # noqa: S311 - spreads retries
        return call()


def run_branch(document: Mapping[str, Any], agent: Agent, steps: Steps, client: Asks) -> Any:
    """Work on one part of a ``map``, as the engine calls it, perhaps in another process than the rest."""
    context = Context(
        agent,
        steps,
        client,
        key=f"{document['key']}/{document['number']}",
        run=document["run"],
        chain=document["chain"],
    )
    context._prefix = document["prefix"]  # noqa: SLF001 - a part of this module
    function = find_function(document["function"])
    return _as_json(_returns(function), function(context, document["part"]))


def find_function(name: str) -> Callable[..., Any]:
    """The function with this ``module:name``.

    Raises:
        ItemRejected: there is none any more.
    """
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ItemRejected(
            f"the function {name} does not exist any more", remedy="Put it back, or replay from the start."
        )
    return found  # type: ignore[no-any-return]


def _importable(function: Callable[..., Any]) -> str:
    name = f"{function.__module__}:{function.__qualname__}"
    if "<" in name or getattr(sys.modules.get(function.__module__), function.__qualname__, None) is not function:
        raise ItemRejected(
            f"map({name}): cannot be found by name after a restart",
            remedy="Define it with def at the top of a module.",
        )
    return name


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _returns(function: Callable[..., Any]) -> TypeAdapter[Any]:
    try:
        annotation = inspect.get_annotations(function, eval_str=True).get("return", Any)
    except (NameError, TypeError):
        annotation = Any
    return TypeAdapter(Any if annotation is None else annotation)


def _as_json(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json")
    except (ValidationError, ValueError, TypeError) as error:
        raise ItemRejected(f"the result is not what its annotation says, or no JSON: {error}") from error
