"""What an agent is, declared in ``agents/*.toml`` or given to ``@app.agent``; checked before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import jsonschema
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from breakeven.agents import templates
from breakeven.agents.schedule import Missed, Overlap, Schedule
from breakeven.config.section import SecretReference, Section
from breakeven.errors import AgentDefinitionError, InputError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_BUDGET = re.compile(r"\$(\d+(?:\.\d+)?)/(day|month)")
_ROOTS = ("item", "run")


def _identifier(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise ValueError("a plain name of letters, digits and underscores")
    return value


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("an address that begins with http:// or https://")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Address = Annotated[str, AfterValidator(_address)]


class Budget(Section):
    """Money that an agent may spend, held by the gateway."""

    usd: Decimal = Field(gt=0)
    per: Literal["day", "month"]


class QueueSource(Section):
    """Items put in by ``breakeven agents enqueue``, over HTTP, by ``queue.enqueue`` or by agents' ``ctx.enqueue``."""

    kind: Literal["queue"] = "queue"


class TableSource(Section):
    """Rows of a SQL query. Each row becomes an item once, told apart by its ``key`` column."""

    kind: Literal["table"]
    query: str = Field(min_length=1)
    """May use ``:cursor``, the greatest key taken so far (at first ``cursor_start``)."""
    key: Identifier = "id"
    url: str | None = None
    """SQLAlchemy URL; by default the agents' own database."""
    cursor_start: int | str = 0


class FolderSource(Section):
    """Files of a folder. A file becomes an item once, and again when its content changes."""

    kind: Literal["folder"]
    path: Path
    pattern: str = "*"
    most_bytes: int = Field(default=1_000_000, ge=1)


class HttpSource(Section):
    """A JSON list fetched from an address; each element becomes an item once, told apart by ``key``."""

    kind: Literal["http"]
    url: Address
    at: str = ""
    """Dotted path of the list within the document; empty when the document is the list."""
    key: str = "id"
    token: SecretReference | None = None


Source = Annotated[QueueSource | TableSource | FolderSource | HttpSource, Field(discriminator="kind")]


class TableSink(Section):
    """A row of a table. In the agents' own database it is written in one transaction with the step's record; in
    another the unique column ``breakeven_key`` keeps a repeated write from doubling."""

    kind: Literal["table"]
    table: Identifier
    columns: dict[Identifier, str]
    url: str | None = None


class FolderSink(Section):
    """A file for each item, written whole and under a name of the item's own: a repeat replaces it with itself."""

    kind: Literal["folder"]
    path: Path
    name: str = "{{ item.key }}.json"
    content: str | None = None


class WebhookSink(Section):
    """A POST with an ``Idempotency-Key`` that is the same whenever the write is repeated."""

    kind: Literal["webhook"]
    url: Address
    body: dict[str, str] = Field(default_factory=dict)
    token: SecretReference | None = None


Sink = Annotated[TableSink | FolderSink | WebhookSink, Field(discriminator="kind")]


class Step(Section):
    """One call of a model."""

    name: str
    prompt: str = Field(min_length=1)
    system: str | None = None
    model: str | None = None
    task: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    max_tokens: int | None = Field(default=None, ge=1)

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                jsonschema.Draft202012Validator.check_schema(value)
            except jsonschema.SchemaError as error:
                raise ValueError(f"a JSON Schema: {error.message}") from error
        return value


class Agent(Section):
    """One agent: when it wakes, what it takes, how it works, where results go.

    Attributes:
        batch: most items that one wake-up takes.
        parallel: items at work at once, in each worker.
        deadline_seconds: patience for each call of a model.
        retries: further tries of a step whose failure may pass.
        promote: model asked when answers stay invalid; without one the item becomes a dead letter.
        system: prompt shared by all steps; put first, so that the box computes it once.
    """

    name: str
    every: str | None = None
    zone: str = "UTC"
    spread: Literal["auto", "none"] = "none"
    overlap: Overlap = "skip"
    missed: Missed = "latest"
    batch: int = Field(default=10, ge=1, le=10_000)
    parallel: int = Field(default=1, ge=1, le=256)
    source: Source | None = None
    system: str | None = None
    steps: tuple[Step, ...] = ()
    sink: Sink | None = None
    model: str = "auto"
    task: str | None = None
    data: Literal["local_only", "shareable"] | None = None
    priority: Literal["interactive", "agent", "batch"] = "agent"
    deadline_seconds: float | None = Field(default=None, gt=0)
    budget: Budget | None = None
    retries: int = Field(default=3, ge=0, le=20)
    promote: str | None = None

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("lower-case letters, digits, hyphens and underscores, at most 63")
        return value

    @field_validator("budget", mode="before")
    @classmethod
    def _budget(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = _BUDGET.fullmatch(value.replace(" ", ""))
        if not found:
            raise ValueError('money per day or month, such as "$0.50/day"')
        return {"usd": found[1], "per": found[2]}

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Self:
        known = set(_ROOTS)
        for step in self.steps:
            if not _NAME.fullmatch(step.name) or step.name in known:
                raise ValueError(f"steps: {step.name!r} is taken or no plain name")
            _check_names(f"steps.{step.name}.prompt", step.prompt, known)
            known.add(step.name)
        if self.system is not None and templates.names(self.system):
            raise ValueError("system: the shared prompt takes no {{ names }}; it must be the same for every item")
        for where, template in _sink_templates(self.sink):
            _check_names(where, template, known)
        return self

    @field_validator("every")
    @classmethod
    def _is_cadence(cls, value: str | None) -> str | None:
        if value is not None:
            Schedule(value)
        return value

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        Schedule("1m", value)
        return value

    @property
    def schedule(self) -> Schedule | None:
        """The cadence; ``None`` for an agent that wakes only when told to."""
        return Schedule(self.every, self.zone) if self.every is not None else None


def parse(document: Mapping[str, Any], origin: str) -> Agent:
    """Check a definition.

    Args:
        origin: the file or the place in code, for errors.

    Raises:
        AgentDefinitionError: naming the origin, the first wrong key, its value and what is allowed there.
    """
    try:
        return Agent.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"]]
        if path[:1] in (["source"], ["sink"]):
            del path[1:2]  # which kind of source or sink it was taken for
        key = ".".join(path)
        others = f" ({error.error_count() - 1} more keys are wrong)" if error.error_count() > 1 else ""
        value = "(table)" if isinstance(first["input"], dict) else first["input"]
        if first["type"] == "extra_forbidden":
            raise AgentDefinitionError(origin, key, value, f"no such key{others}") from None
        if first["type"] == "missing":
            raise AgentDefinitionError(origin, key, None, f"a value; this key is required{others}") from None
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not key:  # a rule over the whole definition names its key itself
            key, _, allowed = allowed.partition(": ")
            value = "(template)"
        raise AgentDefinitionError(origin, key, value, f"{allowed}{others}") from None


def load(path: Path) -> Agent:
    """Read one file; the agent is named after it unless it says otherwise.

    Raises:
        InputError: the file cannot be read, or is no TOML.
        AgentDefinitionError: as ``parse``; also for an agent without steps.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not valid TOML: {error}", remedy="Mend it, or move it out of the folder."
        ) from error
    agent = parse({"name": path.stem, **document}, str(path))
    if not agent.steps:
        raise AgentDefinitionError(str(path), "steps", None, "at least one [[steps]] table with name and prompt")
    return agent


def _check_names(where: str, template: str, known: set[str]) -> None:
    for name in templates.names(template):
        if name.split(".")[0] not in known:
            raise ValueError(f"{where}: {{{{ {name} }}}} is not known there; known are {', '.join(sorted(known))}")


def _sink_templates(sink: Sink | None) -> list[tuple[str, str]]:
    if isinstance(sink, TableSink):
        return [(f"sink.columns.{name}", template) for name, template in sink.columns.items()]
    if isinstance(sink, FolderSink):
        return [("sink.name", sink.name), *([("sink.content", sink.content)] if sink.content else [])]
    if isinstance(sink, WebhookSink):
        return [(f"sink.body.{name}", template) for name, template in sink.body.items()]
    return []
