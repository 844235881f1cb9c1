"""What an answer must look like: a pydantic model, or a JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
from pydantic import BaseModel, ValidationError


@dataclass(frozen=True, slots=True)
class Checker:
    """A schema at work.

    Attributes:
        json_schema: as it is sent to the model's server.
        check: takes parsed JSON, returns it as it is kept; raises ValueError saying what is wrong.
        restore: turns what was kept into what the agent's function gets.
    """

    json_schema: Mapping[str, Any]
    check: Callable[[Any], Any]
    restore: Callable[[Any], Any]


def checker(schema: type[BaseModel] | Mapping[str, Any]) -> Checker:
    """The checker of a schema."""
    if isinstance(schema, Mapping):
        return Checker(schema, lambda value: _check(schema, value), lambda kept: kept)
    return Checker(schema.model_json_schema(), lambda value: _check_model(schema, value), schema.model_validate)


def _check(schema: Mapping[str, Any], value: Any) -> Any:
    try:
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "the answer"
        raise ValueError(f"{where}: {error.message}"[:300]) from error
    return value


def _check_model(model: type[BaseModel], value: Any) -> Any:
    try:
        return model.model_validate(value).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise ValueError(f"{where}: {first['msg']}"[:300]) from error
