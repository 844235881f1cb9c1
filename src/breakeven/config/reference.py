"""The configuration reference, written from the settings themselves."""

from __future__ import annotations

import types
from collections.abc import Iterator
from decimal import Decimal
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from breakeven.config.settings import Settings

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Decimal: "decimal number",
    Path: "path",
    tuple[float, float, float]: "three numbers",
}

HEADER = """# Configuration reference

One TOML file, `breakeven.toml`: in the working directory, in the user's configuration folder, named by
`BREAKEVEN_CONFIG`, or given with `--config`. Every key has a default; without a file breakeven looks for a model
server that already runs on this machine and otherwise starts its own engine with the demo model.

This page is generated from the settings; a test keeps it in step.
"""


def reference(model: type[BaseModel] = Settings, header: str = HEADER) -> str:
    """The page of a file's tables as Markdown."""
    return "\n".join([header, _table(model), *_sections(model, "")])


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section, is_named = _section(field.annotation)
        if section is not None:
            title = f"{path}{name}.NAME" if is_named else f"{path}{name}"
            yield f"## `[{title}]`\n\n{cleandoc(section.__doc__ or '')}\n\n{_table(section)}"
            yield from _sections(section, f"{title}.")


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is dict and isinstance(get_args(annotation)[1], type):
        return get_args(annotation)[1], True
    return None, False


def _table(model: type[BaseModel]) -> str:
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in model.model_fields.items():
        if _section(field.annotation)[0] is not None:
            continue
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{key}` | {_takes(field)} | {_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _takes(field: FieldInfo) -> str:
    words = _type_words(field.annotation)
    bounds = []
    for constraint in field.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (bound := getattr(constraint, name, None)) is not None:
                bounds.append(f"{sign} {bound}")
    return ", ".join([words, *bounds])


def _type_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_words(get_args(annotation)[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(part) for part in get_args(annotation) if part is not type(None))
    if origin is frozenset or (origin is tuple and get_args(annotation)[-1] is Ellipsis):
        return f"list of {_type_words(get_args(annotation)[0])}"
    if origin is dict:
        return "table"
    return _WORDS.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "*required*"
    if field.default in (None, "", ()):
        return "–"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
