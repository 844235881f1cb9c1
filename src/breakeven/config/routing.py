"""`[policy]` and `[tasks]`: which models a call may try in which order, and when an answer is good enough."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field

from breakeven.config.section import Section

DataLabel: TypeAlias = Literal["local_only", "shareable"]
Priority: TypeAlias = Literal["interactive", "agent", "batch"]
StreamMode: TypeAlias = Literal["buffer", "pass"]


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    return value


Regex = Annotated[str, AfterValidator(_regex)]
EntryPoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class GateSettings(Section):
    """When an answer is good enough; one that is not goes to the task's next model."""

    not_empty: bool = True
    """Refuse an answer without text and without tool calls."""
    not_refused: bool = True
    """Refuse an answer that declines the request: by the dialect's refusal field, or by its opening words."""
    not_truncated: bool = True
    """Refuse an answer that ended at its token limit. For tasks whose callers cut answers short on purpose, such as
    labels of one token, switch it off."""
    schema_valid: bool = True
    """Refuse an answer that is not valid by the JSON schema that the request asks for, or by `json_schema`."""
    json_schema: dict[str, Any] | None = None
    """A JSON schema for requests that bring none."""
    matches: tuple[Regex, ...] = ()
    """Regular expressions that must each be found in the answer's text."""
    rejects: tuple[Regex, ...] = ()
    """Regular expressions none of which may be found in it."""
    check: EntryPoint | None = None
    """A function `module:function` that takes the answer (`breakeven.routing.gates.AnswerFacts`) and returns what is
    wrong with it in words, or `None`."""
    refusal_patterns: tuple[Regex, ...] | None = None
    """How a refusal begins; unset: a short English list."""


NO_GATES = GateSettings(not_empty=False, not_refused=False, not_truncated=False, schema_valid=False)


class TaskSettings(Section):
    """A kind of work that callers name in the header `x-breakeven-task`, in `metadata.task` or as model `task:NAME`.

    `summarise`, `tag`, `route`, `extract`, `rewrite` and `simple-reasoning` are there without being configured: local
    first, then `frontier`. A table of the same name replaces them.
    """

    models: tuple[str, ...] = Field(default=("local", "frontier"), min_length=1)
    """Names from `[models]` in order of preference. A model that the call names itself is tried first, then those
    after it in this list."""
    data: DataLabel | None = None
    """Whether the data of such calls may leave the machine. Unset: what the call or its key says, else
    `policy.default_data`. The strictest word holds."""
    gates: GateSettings = GateSettings()
    """When an answer is good enough."""
    stream: StreamMode = "buffer"
    """What a streaming caller gets while gates wait for the whole answer: `buffer` holds it back until they have
    passed; `pass` lets it through and gives the verdict at its end, when no other model can be asked any more."""
    deadline_seconds: float | None = Field(default=None, gt=0)
    """Seconds within which such a call is to be answered, waiting and retries included."""
    max_wait_seconds: float | None = Field(default=None, ge=0)
    """Predicted seconds to the whole answer beyond which a model yields to a later one of the list that is within."""
    waiting_usd_per_hour: Decimal = Field(default=Decimal(0), ge=0)
    """What an hour of waiting is worth: a later, faster model goes first when the time it saves is worth more than
    the dollars it adds. 0: never."""
    max_usd_per_call: Decimal | None = Field(default=None, ge=0)
    """Most dollars that one attempt may be expected to cost; a remote model of unknown cost counts as above it."""
    priority: Priority | None = None
    """Place in the box's queue. Unset: what the call says, else `interactive`."""
    cache_seconds: float | None = Field(default=None, gt=0)
    """How long the same request gets the stored answer. Unset: never."""


BULK_TASKS = ("summarise", "tag", "route", "extract", "rewrite", "simple-reasoning")
"""Tasks that exist without configuration."""


class PolicySettings(Section):
    """What holds for calls that do not say otherwise, and how failures are met."""

    default_data: DataLabel = "local_only"
    """Label of calls whose data nobody has labelled: neither the call nor its key nor its task."""
    share_with: Literal["any", "no_training", "zero_retention"] = "any"
    """Which remote providers may see shareable data: `any`, those known not to train on it, or those known to neither
    train on it nor keep it."""
    auto: tuple[str, ...] = Field(default=("local", "frontier"), min_length=1)
    """Models for calls to `auto` that name no task, in order of preference."""
    deadline_seconds: float | None = Field(default=None, gt=0)
    """Seconds within which any call is to be answered, unless it or its task says less."""
    retries: int = Field(default=2, ge=0, le=10)
    """How often the same model is asked again after a failure that may pass."""
    backoff_seconds: float = Field(default=0.5, gt=0)
    """Longest wait before the first retry; each further one may be twice as long. The wait is drawn at random below
    that, or is what the provider asked for."""
    backoff_max_seconds: float = Field(default=30.0, gt=0)
    """Longest wait before any retry, a provider's own wish included: beyond it the next model is asked instead."""
    breaker_failures: int = Field(default=5, ge=1)
    """Failures within `breaker_window_seconds` after which a model of a provider is left alone for a while."""
    breaker_window_seconds: float = Field(default=60.0, gt=0)
    """Seconds over which failures are counted."""
    breaker_cooldown_seconds: float = Field(default=30.0, gt=0)
    """Seconds for which it is left alone before one call may try it again; doubled at each further failure, up to
    sixteen times."""
    key_cooldown_seconds: float = Field(default=60.0, gt=0)
    """Seconds for which a key that was limited or refused rests, unless the provider says how long."""
