"""What a call is entitled to: its label, its task, and the models it may try, in the order they are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from breakeven.config import NO_GATES, PolicySettings, TaskSettings
from breakeven.config.load import AUTO, TASK_PREFIX
from breakeven.errors import ModelNotFound, RequestError
from breakeven.privacy.clearance import Label
from breakeven.routing.facts import CallFacts

DEFAULT_SOURCE = "policy.default_data"
"""Who labels the data that nobody else has labelled."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a call once its task is known.

    Attributes:
        task: its name, also when nothing is configured under it: then it is a label in the books and no more.
        settings: the task's, or those of a call without one.
        candidates: aliases in the order they are wanted.
        why: why these, in words.
        label / label_source: of its data, the task's word included.
    """

    task: str | None
    settings: TaskSettings
    candidates: tuple[str, ...]
    why: str
    label: Label
    label_source: str


def strictest(declared: Mapping[str, Label | None], default: Label) -> tuple[Label, str]:
    """The label of a call's data and who gave it: the strictest word given, else the default.

    Args:
        declared: who may say something, by name, and what they said.
        default: ``policy.default_data``.

    >>> strictest({"the call": "shareable", "key agents": "local_only"}, "shareable")
    ('local_only', 'key agents')
    >>> strictest({"the call": None}, "local_only")
    ('local_only', 'policy.default_data')
    """
    said = {who: label for who, label in declared.items() if label is not None}
    for label in ("local_only", "shareable"):
        if (who := next((who for who, given in said.items() if given == label), None)) is not None:
            return label, who
    return default, DEFAULT_SOURCE


def terms(
    facts: CallFacts, policy: PolicySettings, tasks: Mapping[str, TaskSettings], served: Collection[str]
) -> Terms:
    """Find the task and the candidates of a call.

    A call that names a task tries the task's models; one that also names a model enters the list there, or tries that
    model alone when it is not on the list. A call to ``auto`` without a task tries ``policy.auto``. Any other name is
    tried alone.

    Args:
        served: aliases that exist.

    Raises:
        ModelNotFound: for a model or a ``task:NAME`` that does not exist.
        RequestError: for a ``task:NAME`` that contradicts the task named otherwise, whose label might be stricter.
    """
    name, asked = facts.task, facts.model
    if asked.startswith(TASK_PREFIX):
        name, asked = asked.removeprefix(TASK_PREFIX), AUTO
        if name not in tasks:
            raise ModelNotFound(f"model = {facts.model!r}: no such task", remedy=f"Tasks are: {', '.join(tasks)}.")
        if facts.task not in (None, name):
            raise RequestError(
                f"model = {facts.model!r}: the call, or its key, also says that its task is {facts.task!r}"
            )
    elif asked != AUTO and asked not in served:
        raise ModelNotFound(
            f"model = {asked!r}: not served here", remedy=f"Served are: {', '.join(sorted({*served, AUTO}))}."
        )
    task = tasks.get(name) if name is not None else None
    settings = task or _without_task(policy.auto)
    if task is None and asked == AUTO:
        candidates, why = policy.auto, "policy.auto"
    elif task is None:
        candidates, why = (asked,), "asked for by name"
    elif asked == AUTO:
        candidates, why = task.models, f"task {name}"
    elif asked in task.models:
        candidates, why = task.models[task.models.index(asked) :], f"task {name} from {asked} on"
    else:
        candidates, why = (asked,), "asked for by name"
    label, source = facts.label, facts.label_source
    if settings.data == "local_only" or (settings.data is not None and source == DEFAULT_SOURCE):
        label, source = settings.data, f"tasks.{name}.data"
    return Terms(name, settings, tuple(dict.fromkeys(candidates)), why, label, source)


@lru_cache(maxsize=16)
def _without_task(models: tuple[str, ...]) -> TaskSettings:
    return TaskSettings(models=models, gates=NO_GATES, stream="pass")
