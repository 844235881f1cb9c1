"""Which answers pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from breakeven.config import NO_GATES, GateSettings
from breakeven.errors import InputError
from breakeven.routing.gates import MAX_CHARACTERS, AnswerFacts, load_check, verdict

TICKET = {"type": "object", "properties": {"severity": {"enum": ["low", "high"]}}, "required": ["severity"]}


def failed_gate(answer: AnswerFacts, *, schema: Any = None, **gates: Any) -> str | None:
    failed = verdict(answer, GateSettings(**gates), schema)
    return None if failed is None else failed.gate


def test_a_whole_answer_passes() -> None:
    assert failed_gate(AnswerFacts("Three uses: a hook, a key ring, a bookmark.")) is None


def test_an_answer_by_tool_call_alone_is_not_empty() -> None:
    assert failed_gate(AnswerFacts("", (("look_up", "{}"),), finish="tool_calls")) is None
    assert failed_gate(AnswerFacts(" \n")) == "not_empty"


def test_an_answer_cut_at_its_limit_is_truncated() -> None:
    assert failed_gate(AnswerFacts("Three uses: a ho", finish="length")) == "not_truncated"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot assist with that request.",
        "I cannot provide that.",
        "Sorry, I am unable to do this.",
        "As an AI language model, I can't read files.",
        "I can't assist with that.",
    ],
)
def test_a_refusal_is_known_by_how_it_begins(text: str) -> None:
    assert failed_gate(AnswerFacts(text)) == "not_refused"


@pytest.mark.parametrize(
    "text",
    [
        "The customer is sorry that she cannot log in.",
        "Sorry about the delay: the parcel arrives on Monday.",
        "I can help. You cannot provide a date before 1970.",
        "I cannot overstate how much the team liked it.",
    ],
)
def test_text_that_speaks_of_refusing_is_no_refusal(text: str) -> None:
    assert failed_gate(AnswerFacts(text)) is None


def test_the_dialects_own_mark_and_the_users_own_patterns_count() -> None:
    assert failed_gate(AnswerFacts("", refused=True)) == "not_refused"
    assert failed_gate(AnswerFacts("Das kann ich nicht."), refusal_patterns=("^Das kann ich nicht",)) == "not_refused"
    assert failed_gate(AnswerFacts("I cannot help."), refusal_patterns=()) is None


@pytest.mark.parametrize(
    ("text", "passes"),
    [('{"severity": "low"}', True), ('{"severity": "dire"}', False), ("{}", False), ("low", False), ("", False)],
)
def test_an_answer_must_fit_the_schema_that_was_asked_for(text: str, passes: bool) -> None:
    assert (failed_gate(AnswerFacts(text), schema=TICKET, not_empty=False) is None) == passes
    assert (failed_gate(AnswerFacts(text), json_schema=TICKET, not_empty=False) is None) == passes


def test_the_requests_schema_comes_before_the_tasks() -> None:
    assert failed_gate(AnswerFacts("[1]"), schema={"type": "array"}, json_schema=TICKET) is None


def test_a_callers_regular_expression_is_not_run_and_nothing_is_fetched_for_a_schema() -> None:
    hostile = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    fetching = {"$ref": "http://127.0.0.1:9/schema.json"}

    assert failed_gate(AnswerFacts('{"a": "' + "a" * 40 + '!"}'), schema=hostile) is None
    failed = verdict(AnswerFacts("{}"), GateSettings(), fetching)
    assert failed is not None
    assert "cannot be applied" in failed.why


def doubling(levels: int, **extra: Any) -> dict[str, Any]:
    """A short schema whose references double at each level."""
    each = [{"$ref": f"#/$defs/d{level + 1}", **extra} for level in range(levels)]
    definitions = {f"d{level}": {"allOf": [each[level], each[level]], **extra} for level in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "object"}}}


@pytest.mark.parametrize("extra", [{}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}])
def test_a_callers_schema_cannot_ask_for_endless_work(extra: dict[str, Any]) -> None:
    assert failed_gate(AnswerFacts("{}"), schema=doubling(8, **extra)) is None
    assert failed_gate(AnswerFacts("{}"), schema=doubling(60, **extra)) == "schema_valid"


def test_a_list_of_a_thousand_items_may_refer_to_one_definition() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}
    assert failed_gate(AnswerFacts(str(list(range(1000)))), schema=schema) is None
    assert failed_gate(AnswerFacts('["x"]'), schema=schema) == "schema_valid"


def test_a_property_called_pattern_is_not_a_regular_expression() -> None:
    schema = {"properties": {"pattern": {"type": "string"}}, "required": ["pattern"], "additionalProperties": False}

    assert failed_gate(AnswerFacts('{"pattern": 1}'), schema=schema) == "schema_valid"


def test_a_schema_that_is_none_fails_rather_than_crashes() -> None:
    assert failed_gate(AnswerFacts("{}"), schema={"type": 7}) == "schema_valid"


def test_patterns_must_be_found_or_must_not() -> None:
    assert failed_gate(AnswerFacts("severity: low"), matches=("severity: (low|high)",)) is None
    assert failed_gate(AnswerFacts("no idea"), matches=("severity: (low|high)",)) == "matches"
    assert failed_gate(AnswerFacts("TODO"), rejects=("TODO",)) == "rejects"


def test_a_text_too_long_to_search_does_not_pass_unsearched() -> None:
    assert failed_gate(AnswerFacts("x" * (MAX_CHARACTERS + 1)), rejects=("TODO",)) == "rejects"


def names_no_city(answer: AnswerFacts) -> str | None:
    return None if "Bern" in answer.text else "names no city"


def stumbles(answer: AnswerFacts) -> str | None:
    raise ValueError(answer.text)


def test_a_check_of_the_users_own_says_what_is_wrong() -> None:
    check = f"{__name__}:names_no_city"

    assert failed_gate(AnswerFacts("Bern"), check=check) is None
    assert failed_gate(AnswerFacts("Paris"), check=check) == "check"


def test_a_check_that_raises_does_not_pass_and_its_words_stay_unsaid() -> None:
    failed = verdict(AnswerFacts("secret text"), GateSettings(check=f"{__name__}:stumbles"))

    assert failed is not None
    assert failed.why.endswith("raised ValueError")


@pytest.mark.parametrize("check", ["no_such_module_here:f", "json:no_such_function", "json:decoder"])
def test_a_check_that_does_not_exist_is_named(check: str) -> None:
    with pytest.raises(InputError, match=r"gates\.check"):
        load_check(check)


def test_with_no_gates_everything_passes() -> None:
    assert verdict(AnswerFacts("", finish="length", refused=True), NO_GATES, TICKET) is None


def test_a_check_in_a_module_that_cannot_be_imported_is_an_error_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_written_check.py").write_text("def good(answer:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="half_written_check"):
        load_check("half_written_check:good")
