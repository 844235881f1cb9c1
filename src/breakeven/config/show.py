"""The settings as they hold, for people: what the file says and what follows from it, secrets never."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from breakeven.config.providers import ProviderSettings
from breakeven.config.settings import Settings

_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def document(settings: Settings, *, defaults: bool = True) -> dict[str, Any]:
    """The settings as plain data; passwords in addresses are left out.

    Args:
        defaults: also what the file does not say.
    """
    shown: dict[str, Any] = _without_passwords(
        settings.model_dump(mode="json", exclude_none=True, exclude_unset=not defaults)
    )
    return shown


def toml(settings: Settings, *, defaults: bool = False) -> str:
    """The settings as a file that could be read back, with what is assumed of each provider as comments."""
    lines = list(_tables(document(settings, defaults=defaults), (), settings))
    return "\n".join(lines).strip() + "\n"


def assumptions(provider: ProviderSettings) -> list[str]:
    """What follows from a provider's entry, and what is taken for granted because the entry does not say it."""
    if provider.effective_locality == "local":
        return ["its calls stay on machines of yours"]
    keeps = {None: "assumed to keep what it is sent", 0: "keeps nothing of what it is sent"}.get(
        provider.retention_days, f"keeps what it is sent for {provider.retention_days} days"
    )
    trains = {
        None: "assumed to train on it",
        True: "may train on it",
        False: "does not train on it",
    }[provider.trains_on_data]
    prices = (
        [] if provider.catalog is not None else ["what its calls cost is unknown: it has no name in the price book"]
    )
    return ["its calls leave your machines", keeps, trains, *prices]


def _tables(table: dict[str, Any], path: tuple[str, ...], settings: Settings) -> Iterator[str]:
    values = {key: value for key, value in table.items() if not _is_table(path, key, value)}
    if path and (values or not table):
        yield ""
        yield f"[{'.'.join(_key(part) for part in path)}]"
    if len(path) == 2 and path[0] == "providers":
        yield f"# {'; '.join(assumptions(settings.providers[path[1]]))}"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if key not in values:
            yield from _tables(value, (*path, key), settings)


def _is_table(path: tuple[str, ...], key: str, value: Any) -> bool:
    return isinstance(value, dict) and not (path[-1:] == ("gates",) and key == "json_schema")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _without_passwords(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_passwords(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_passwords(part) for part in value]
    return _PASSWORD.sub(r"\1:…@", value) if isinstance(value, str) else value


def json_schema(model: type[BaseModel] = Settings) -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
