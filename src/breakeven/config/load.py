"""Find, read and check the configuration file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ValidationError

from breakeven.config.settings import Settings
from breakeven.errors import ConfigError, InputError

FILE_NAME = "breakeven.toml"
AUTO = "auto"
"""The model name that leaves the choice to the policy."""
TASK_PREFIX = "task:"
"""Begins a model name that names a task."""
SECRET_KEYS = ("secret", "key", "keys")
"""Keys whose value may be a secret put in the wrong place; errors do not repeat it."""


def default_home(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for everything breakeven keeps: ``BREAKEVEN_HOME``, else the platform's data folder."""
    named = environment.get("BREAKEVEN_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("breakeven"))


def find_file(explicit: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file to read: the one named, ``BREAKEVEN_CONFIG``, ./breakeven.toml, or the user's own; else ``None``."""
    named = explicit or (Path(value) if (value := environment.get("BREAKEVEN_CONFIG")) else None)
    if named is not None:
        if not named.is_file():
            raise InputError(f"configuration file {named} does not exist", remedy="Check the path, or leave it out.")
        return named
    for candidate in (Path(FILE_NAME), Path(platformdirs.user_config_dir("breakeven")) / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def parse(document: Mapping[str, Any]) -> Settings:
    """Check a parsed document.

    Raises:
        ConfigError: naming the first wrong key, its value and what is allowed there.
    """
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "(file)"
        others = f" ({error.error_count() - 1} more keys are wrong)" if error.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            raise ConfigError(key, _shown(first["loc"], first["input"]), f"no such key{others}") from None
        if first["type"] == "missing":
            raise ConfigError(key, None, f"a value; this key is required{others}") from None
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise ConfigError(key, _shown(first["loc"], first["input"]), f"{allowed}{others}") from None
    for name, pool in settings.pools.items():
        if name in settings.providers or name == "engine":
            raise ConfigError(f"pools.{name}", name, "a name that no provider has")
        for member in pool.members:
            if member not in settings.providers:
                raise ConfigError(f"pools.{name}.members.{member}", member, "the name of a [providers] entry")
    for name, model in settings.models.items():
        if model.provider not in ("engine", *settings.providers, *settings.pools):
            known = ", ".join(["engine", *sorted([*settings.providers, *settings.pools])])
            raise ConfigError(f"models.{name}.provider", model.provider, f"one of {known}")
        if name == AUTO or name.startswith(TASK_PREFIX):
            raise ConfigError(f"models.{name}", name, f"another name; {AUTO} and {TASK_PREFIX}NAME ask for the policy")
    return settings


def _shown(path: tuple[int | str, ...], value: object) -> object:
    """The value as an error may repeat it: secrets are hidden wherever they were misplaced, tables left out."""
    if isinstance(value, dict):
        return "(table)"
    return "(not shown)" if any(part in SECRET_KEYS for part in path[1:]) else value


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read and check a file; without one, the defaults."""
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not valid TOML: {error}") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    settings = parse(document)
    home = settings.home or default_home(environment)
    return settings.model_copy(update={"home": home.expanduser().absolute()})
