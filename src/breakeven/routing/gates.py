"""Gates: whether an answer is good enough, or the next model should be asked.

Pure, save for a check of the user's own.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, TypeAlias, cast

from jsonschema.exceptions import best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry

from breakeven.config import GateSettings
from breakeven.errors import InputError

Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "other"]
"""Why an answer ended, in whichever dialect it came."""
Gate: TypeAlias = Literal["not_refused", "not_truncated", "not_empty", "schema_valid", "matches", "rejects", "check"]

MAX_CHARACTERS = 100_000
"""Longest text that regular expressions are run over: some take time out of proportion to it."""
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
MAX_REFERENCES = 5_000
"""Most references followed for a schema of the caller's own: about 0.2 s of work, or as many list items."""
_references: ContextVar[int] = ContextVar("references", default=0)
REFUSAL_CHARACTERS = 200
"""How far into an answer its refusal begins, if it is one."""
_CANNOT = r"(?:can(?:no|['’])t|won['’]t|(?:am|are|['’]m|['’]re) (?:unable|not able) to)"
REFUSALS = (
    rf"(?i)^\W*(?:i['’]m (?:very |so )?sorry|i am (?:very |so )?sorry|sorry|my apologies)\b[^.!?\n]{{0,60}}\b{_CANNOT}",
    rf"(?i)^\W*i ?{_CANNOT} (?:help|assist|comply|provide|answer|do (?:that|this)|fulfill?|complete)\b",
    rf"(?i)^\W*as an ai\b[^.!?\n]{{0,60}}\b{_CANNOT}",
)
"""How refusals in English begin. Short on purpose: what it misses is caught by the answer's shape or not at all, and
what it wrongly catches costs a second call."""


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """A whole answer, whichever dialect it came in.

    Attributes:
        text: its text, all parts together.
        tool_calls: arguments of each tool call, by its name and in order.
        finish: why it ended.
        refused: whether the dialect itself marks it as a refusal.
    """

    text: str
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish: Finish = "stop"
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A gate that an answer did not pass, and why; the reason repeats nothing of the answer's text."""

    gate: Gate
    why: str


def verdict(
    answer: AnswerFacts, gates: GateSettings, requested_schema: Mapping[str, Any] | None = None
) -> Failed | None:
    """The first gate that the answer does not pass; ``None`` when it passes all.

    Args:
        requested_schema: the JSON schema that the request asks for; it comes before the task's own. Regular
            expressions in it are not applied: they are the caller's, and one can keep a processor busy for ever.

    Raises:
        InputError: when ``check`` names a function that cannot be found.
    """
    if gates.not_refused and (why := _refusal(answer, gates.refusal_patterns)):
        return Failed("not_refused", why)
    if gates.not_truncated and answer.finish == "length":
        return Failed("not_truncated", "the answer ended at its token limit")
    if gates.not_empty and not answer.text.strip() and not answer.tool_calls:
        return Failed("not_empty", "the answer has neither text nor tool calls")
    # An answer by tool call is not the text that the schema describes.
    if gates.schema_valid and not answer.tool_calls:
        schema = gates.json_schema if requested_schema is None else requested_schema
        if schema is not None and (why := _schema_fault(answer.text, schema, trusted=requested_schema is None)):
            return Failed("schema_valid", why)
    if (gates.matches or gates.rejects) and len(answer.text) > MAX_CHARACTERS:
        too_long = f"the answer has more than {MAX_CHARACTERS:,} characters, too many to search"
        return Failed("matches" if gates.matches else "rejects", too_long)
    for pattern in gates.matches:
        if _compiled(pattern).search(answer.text) is None:
            return Failed("matches", f"{pattern!r} is not found in the answer")
    for pattern in gates.rejects:
        if _compiled(pattern).search(answer.text) is not None:
            return Failed("rejects", f"{pattern!r} is found in the answer")
    if gates.check is not None and (why := _checked(gates.check, answer)):
        return Failed("check", why)
    return None


def load_check(entry_point: str) -> Callable[[AnswerFacts], str | None]:
    """The function that ``module:function`` names.

    Raises:
        InputError: when there is none.
    """
    module, _, name = entry_point.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's own may fail in any way
        raise InputError(f"gates.check = {entry_point!r}: {error}", remedy="Name it as module:function.") from error
    if not callable(function):
        raise InputError(f"gates.check = {entry_point!r}: not a function")
    return cast("Callable[[AnswerFacts], str | None]", function)


def _refusal(answer: AnswerFacts, patterns: tuple[str, ...] | None) -> str:
    if answer.refused or answer.finish == "content_filter":
        return "the model refused"
    beginning = answer.text[:REFUSAL_CHARACTERS].lstrip()
    if any(_compiled(pattern).search(beginning) for pattern in (REFUSALS if patterns is None else patterns)):
        return "the answer begins like a refusal"
    return ""


def _schema_fault(text: str, schema: Mapping[str, Any], *, trusted: bool) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        return f"the answer is not JSON{where}"
    try:
        validator = validator_for(schema)
        if not trusted:
            schema, validator = _tamed(schema), _frugal(validator)
            _references.set(0)
        # An empty registry: a reference in the schema never fetches anything.
        fault = best_match(validator(schema, registry=Registry()).iter_errors(document))
    except Exception as error:  # noqa: BLE001 - a schema that is none fails in whichever way its keywords do
        return f"the schema cannot be applied: {type(error).__name__}"
    if fault is None:
        return ""
    where = "/".join(str(part) for part in fault.absolute_path) or "the whole"
    return f"the answer does not fit the schema: {fault.validator} at {where}"


def _tamed(schema: Any) -> Any:
    """Without regular expressions, and without changes of dialect on the way."""
    if isinstance(schema, list):
        return [_tamed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {key for key in ("pattern", "$schema") if isinstance(schema.get(key), str)}
    if "patternProperties" in schema:
        dropped |= {"patternProperties", "additionalProperties", "unevaluatedProperties"}
    return {key: _tamed(part) for key, part in schema.items() if key not in dropped}


@cache
def _frugal(validator: Any) -> Any:
    """The validator with a limit on references, by which a short schema can ask for endless work."""

    def counted(follow: Any) -> Any:
        def reference(*arguments: Any) -> Any:
            _references.set(_references.get() + 1)
            if _references.get() > MAX_REFERENCES:
                raise RecursionError
            yield from follow(*arguments) or ()

        return reference

    followers = {key: counted(follow) for key, follow in validator.VALIDATORS.items() if key in REFERENCES}
    return extend(validator, followers)  # type: ignore[no-untyped-call]


def _checked(entry_point: str, answer: AnswerFacts) -> str:
    try:
        return _function(entry_point)(answer) or ""
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's own code; whatever it does, the answer has not passed
        return f"{entry_point} raised {type(error).__name__}"


_compiled = lru_cache(maxsize=256)(re.compile)
_function = lru_cache(maxsize=64)(load_check)
