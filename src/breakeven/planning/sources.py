"""Where a scenario's document comes from: presets, files, the configuration and flags, laid over one another."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from breakeven.config import Settings
from breakeven.errors import InputError, ScenarioError

Document: TypeAlias = dict[str, Any]
"""A parsed TOML file or part of one."""


def read_file(path: Path) -> Document:
    """The document of a scenario file.

    Raises:
        InputError: when it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def preset_names() -> list[str]:
    """The workloads that come with the program."""
    folder = resources.files("breakeven.planning").joinpath("presets")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset(name: str) -> Document:
    """The document of a preset.

    Raises:
        ScenarioError: when there is none of that name.
    """
    if name not in preset_names():
        raise ScenarioError("preset", name, f"one of {', '.join(preset_names())}")
    folder = resources.files("breakeven.planning").joinpath("presets")
    return tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def configured(settings: Settings, document: Mapping[str, Any]) -> Document:
    """A document over what the configuration says of the user's own box and reference model.

    The box of the configuration counts only where the document names no other machine.
    """
    base: Document = {}
    if "machine" not in document.get("box", {}):
        base["box"] = settings.box.model_dump(include=settings.box.model_fields_set - {"power_meter"})
        if "tariff" in document.get("box", {}):
            base["box"].pop("usd_per_kwh", None)
    if settings.reference.model_fields_set:
        base["cloud"] = {"frontier": f"{settings.reference.provider}/{settings.reference.model}"}
    return laid_over(base, document)


def laid_over(base: Document, top: Mapping[str, Any]) -> Document:
    """``top`` over ``base``, table by table."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def at_path(key: str, value: object) -> Document:
    """The document with one value at a dotted key.

    >>> at_path("box.term_months", 24)
    {'box': {'term_months': 24}}
    """
    document: Document = {}
    for part in reversed(key.split(".")):
        document = {part: document or value}
    return document
